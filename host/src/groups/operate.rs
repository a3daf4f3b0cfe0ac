//! What operators change: where a group stands, and that there is one.

use tokio::sync::{mpsc, oneshot};
use waypost_core::GroupName;
use waypost_protocol::{ErrorCode, Offset, frame::ReadFrom};

use super::{
    Groups,
    start::{first_offset, partitions},
    task::Command,
};
use crate::streams::Refused;

impl Groups {
    /// Lets a group go on from another place in all its partitions. What its members hold comes again as far as
    /// it stands behind that place, and is not theirs any more.
    ///
    /// # Errors
    ///
    /// There is no such group, it takes memory topics, or there is no such place.
    pub async fn move_to(&self, group: &GroupName, from: &ReadFrom) -> Result<(), Refused> {
        let pattern = self.0.table().get(group).map(|entry| entry.pattern.clone());
        let pattern = pattern.ok_or_else(|| unknown(group))?;
        let partitions = partitions(self, &pattern);
        if partitions.is_empty() {
            let message = format!("the group {group} takes memory topics, which have no places");
            return Err(Refused { code: ErrorCode::NoStream, message });
        }
        let storage = self.0.streams.storage();
        let mut to = Vec::new();
        for partition in &partitions {
            let offset = first_offset(storage, partition, Some(from), partitions.len()).await?;
            to.push((partition.clone(), offset));
        }
        self.ask(group, |reply| Command::Move(to, reply)).await
    }

    /// Forgets a group. Its members are told, and whoever joins begins a new one.
    ///
    /// # Errors
    ///
    /// There is no such group, or that cannot be stored.
    pub async fn delete(&self, group: &GroupName) -> Result<(), Refused> {
        self.ask(group, Command::Delete).await
    }

    async fn ask(
        &self,
        group: &GroupName,
        command: impl FnOnce(oneshot::Sender<Result<(), Refused>>) -> Command,
    ) -> Result<(), Refused> {
        let (reply, answer) = oneshot::channel();
        let mut command = command(reply);
        for _ in 0..super::JOIN_TRIES {
            let pattern = self.0.table().get(group).map(|entry| entry.pattern.clone());
            let pattern = pattern.ok_or_else(|| unknown(group))?;
            let mailbox = self.mailbox(group, &pattern, None)?;
            match mailbox.send(command).await {
                Ok(()) => {
                    let failed = || Refused::of(ErrorCode::Overloaded);
                    return answer.await.unwrap_or_else(|_| Err(failed()));
                }
                // It ended just then.
                Err(mpsc::error::SendError(unsent)) => command = unsent,
            }
        }
        Err(Refused::of(ErrorCode::Overloaded))
    }
}

/// Where the partitions of a group go on.
pub(super) type Places = Vec<(waypost_core::Partition, Offset)>;

fn unknown(group: &GroupName) -> Refused {
    let message = format!("there is no group {group}; waypost group list has those that there are");
    Refused { code: ErrorCode::UnknownGroup, message }
}

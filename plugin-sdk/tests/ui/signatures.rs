//! Functions that cannot be a plugin's.
#![allow(unused)]

use waypost_sdk::prelude::*;

struct Config;

mod filters {
    use super::*;

    #[filter]
    fn no_message() -> Result<bool> {
        Ok(true)
    }

    #[filter]
    fn message_by_value(message: Message) -> Result<bool> {
        Ok(message.payload().is_empty())
    }

    #[filter]
    fn payload_only(payload: &[u8]) -> Result<bool> {
        Ok(payload.is_empty())
    }

    #[filter]
    fn no_result(message: &Message) {}

    #[filter]
    async fn waits(message: &Message<'_>) -> Result<bool> {
        Ok(true)
    }

    #[filter]
    unsafe fn dangerous(message: &Message) -> Result<bool> {
        Ok(true)
    }

    #[filter]
    fn generic<T>(message: &Message) -> Result<bool> {
        Ok(true)
    }

    #[filter]
    struct NoFunction;

    #[filter]
    fn config(message: &Message, config: &Config) -> Result<bool> {
        Ok(true)
    }
}

mod transforms {
    use super::*;

    #[transform]
    fn no_result(message: &Message) {}

    #[transform]
    fn config_by_value(message: &Message, config: Config) -> Result<Outgoing> {
        Ok(Outgoing::new())
    }

    #[transform]
    fn mutable_config(message: &Message, config: &mut Config) -> Result<Outgoing> {
        Ok(Outgoing::new())
    }
}

mod routers {
    use super::*;

    #[router]
    fn too_many(message: &Message, config: &Config, emitter: &mut Emitter) -> Result<String> {
        Ok(String::new())
    }

    struct Stateful;

    impl Stateful {
        #[router]
        fn method(&self, message: &Message) -> Result<String> {
            Ok(String::new())
        }
    }
}

mod upcasts {
    use super::*;

    #[upcast(from = 1, to = 2)]
    fn takes_the_message(message: &Message) -> Result<Value> {
        message.json()
    }

    #[upcast(from = 1, to = 2)]
    fn takes_a_reference(old: &Value) -> Result<Value> {
        Ok(old.clone())
    }

    #[upcast(from = 1, to = 2)]
    fn no_result(old: Value) {}
}

fn main() {}

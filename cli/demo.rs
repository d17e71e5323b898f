//! demo
use crate::{args::DemoArgs, exit::*};
pub(crate) fn run(_: &DemoArgs) -> Result<Exit, Failure> {
    Ok(Exit::Ok)
}

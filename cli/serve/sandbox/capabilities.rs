//! The rights of root that a receiver keeps, and the way to be rid of the rest.

use std::io;

use hasync_engine::Rights;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    set_no_new_privs,
};

/// What it takes to make entries as they are on another node: to give them away, to change them
/// whoever owns them, to set setgid for any group, to make device nodes, to give programs
/// capabilities, and to read and set what is trusted and labels: there is no smaller right for
/// those. Other calls that this right is for are refused, and it goes with the first push that does
/// not need it.
const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SYS_ADMIN);

/// More than any kernel has.
const BITS: u32 = 64;

/// Gives up for good all but what is kept, on this thread and on those that it starts, as far as
/// the peer has the `rights` for it. No program started from here gets any back.
pub(super) fn drop_most(rights: Rights) -> io::Result<()> {
    set_no_new_privs(true)?;
    let before = capabilities(None)?;
    if before.effective.contains(CapabilitySet::SETPCAP) {
        for bit in 0..BITS {
            let one = CapabilitySet::from_bits_retain(1 << bit);
            match capability_is_in_bounding_set(one) {
                Ok(true) => remove_capability_from_bounding_set(one)?,
                Ok(false) => {}
                // Beyond the last one that this kernel knows.
                Err(_) => break,
            }
        }
    }
    clear_ambient_capability_set()?;
    let mut kept = before.permitted & KEPT;
    if !rights.devices {
        kept -= CapabilitySet::MKNOD;
    }
    if !rights.setuid {
        kept -= CapabilitySet::SETFCAP;
    }
    set_capabilities(None, sets(kept, kept))?;
    Ok(())
}

/// Gives up for good the right to set what is trusted, and labels, on this thread and on those that
/// it starts.
pub(super) fn forgo_trusted() -> io::Result<()> {
    let now = capabilities(None)?;
    let kept = |set: CapabilitySet| set - CapabilitySet::SYS_ADMIN;
    let (effective, permitted) = (kept(now.effective), kept(now.permitted));
    Ok(set_capabilities(None, sets(effective, permitted))?)
}

/// Uses none of what is kept until [`resume`].
pub(super) fn suspend() -> io::Result<()> {
    let kept = capabilities(None)?.permitted;
    Ok(set_capabilities(None, sets(CapabilitySet::empty(), kept))?)
}

/// Uses all that is kept.
pub(super) fn resume() -> io::Result<()> {
    let kept = capabilities(None)?.permitted;
    Ok(set_capabilities(None, sets(kept, kept))?)
}

fn sets(effective: CapabilitySet, permitted: CapabilitySet) -> CapabilitySets {
    CapabilitySets {
        effective,
        permitted,
        inheritable: CapabilitySet::empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_names_what_is_kept() {
        let page = include_str!("../../manual/hasync-security.md");
        let kept: Vec<String> = KEPT
            .iter_names()
            .map(|(name, _)| format!("CAP_{name}"))
            .collect();
        let is_missing = |name: &&String| !page.contains(name.as_str());
        let missing: Vec<&String> = kept.iter().filter(is_missing).collect();
        assert!(
            missing.is_empty() && page.matches("CAP_").count() == kept.len(),
            "{missing:?}"
        );
    }
}

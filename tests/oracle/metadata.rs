//! Options that ask for other permissions and owners than the source's: each set of them against
//! rsync, over trees in which all of them matter. A set that was ignored would differ.

use super::scenes::age;
use super::shapes::{self, Shape};
use crate::support::{TempTree, need_root};

/// What is pushed to a target that has part of it, and to one that is new.
const SETS: &[&[&str]] = &[
    // Which files can be executed.
    &["-rlt", "-E"],
    &["-rltgo", "-E"],
    &["-a", "-E"],
    &["-rlt", "--executability", "--size-only"],
    &["-rlc", "-E"],
    // Other permissions.
    &["-a", "--chmod=D755,F644"],
    &["-rlt", "--chmod=D2750,F640"],
    &["-a", "--chmod=ug=rwX,o="],
    &["-a", "--chmod=a+X,g-s"],
    &["-a", "--chmod=u+s,g+s,+t"],
    &["-a", "--chmod=+s"],
    &["-a", "--chmod=g=u,o=g"],
    &["-a", "--chmod=o+u,u-g"],
    &["-a", "--chmod=="],
    &["-a", "--chmod=-w,+x"],
    &["-a", "--chmod=4711"],
    &["-a", "--chmod=Fa-x", "--chmod=Dgo="],
    &["-rlt", "-E", "--chmod=Fa-x,Fu+x"],
    &["-ac", "--chmod=F600", "--delete"],
    &["-aH", "--chmod=F600"],
    // Other owners.
    &["-a", "--chown=bin:daemon"],
    &["-rlt", "--chown=bin"],
    &["-rlt", "--chown=:12345"],
    &["-rlt", "--chown=:"],
    &["-a", "--chown=7:8", "--numeric-ids"],
    &["-a", "--no-o", "--chown=bin"],
    &["-a", "--usermap=root:bin,*:daemon"],
    &["-a", "--usermap=1-2:99,:7"],
    &["-a", "--usermap=d*:7,[br]*:8"],
    &["-a", "--usermap=1:2,2:1"],
    &["-a", "--usermap=0:2,bin:0"],
    &["-a", "--usermap=*:99", "--groupmap=*:98", "--chmod=F4755"],
    &["-a", "--usermap=nosuch:5,1:nosuch,bin:12345"],
    &["-a", "--groupmap=bin:12345,12345:bin"],
    &["-rlt", "--groupmap=0-2:7"],
    &["-a", "--numeric-ids", "--usermap=daemon:7,:8"],
    &["-a", "--numeric-ids", "--groupmap=1:bin"],
    &["-aH", "--usermap=*:bin", "--delete"],
    // Times that are left out.
    &["-aO"],
    &["-aJ"],
    &["-aOJ", "--chmod=D700"],
];

const MODES: &[u32] = &[
    0o644, 0o755, 0o600, 0o711, 0o200, 0o444, 0o000, 0o4755, 0o2710, 0o1666,
];
const IDS: &[u32] = &[0, 1, 2, 12345, 65534];

fn scene(trees: &TempTree) {
    for (at, mode) in MODES.iter().enumerate() {
        let there = MODES.iter().cycle().skip(at + 1).step_by(3).take(4);
        for (number, there) in there.enumerate() {
            let name = format!("{mode:o}-{there:o}");
            let id = IDS[(at + number) % IDS.len()];
            // rsync itemizes those that were setuid in another way.
            let there = &(there & 0o1777);
            for (root, mode, id) in [("s", mode, id), ("d", there, IDS[number])] {
                trees.write(format!("{root}/{name}"), "same");
                trees.chown(format!("{root}/{name}"), id, id);
                trees.chmod(format!("{root}/{name}"), *mode);
            }
        }
        trees.write(format!("s/new-{mode:o}"), "new");
        trees.chown(format!("s/new-{mode:o}"), 1, 12345);
        trees.chmod(format!("s/new-{mode:o}"), *mode);
        trees.write(format!("s/longer-{mode:o}"), "longer");
        trees.chmod(format!("s/longer-{mode:o}"), *mode);
        trees.write(format!("d/longer-{mode:o}"), "shorter");
    }
    trees.hard_link("s/644-755", "s/other-name");
    for (dir, mode, id) in [
        ("dir", 0o2770, 1),
        ("dir/in", 0o1777, 12345),
        ("bare", 0o700, 0),
    ] {
        trees.mkdir(format!("s/{dir}"));
        trees.symlink("to", format!("s/{dir}/link"));
        trees.fifo(format!("s/{dir}/fifo"));
        trees.chown(format!("s/{dir}"), id, 2);
        trees.chmod(format!("s/{dir}"), mode);
    }
    trees.mkdir("d/dir");
    trees.write("d/extra", "");
    age(trees, &["s", "d"]);
}

#[test]
fn metadata_are_what_was_asked_for() {
    need_root();
    let mut failures = Vec::new();
    for options in SETS {
        for target in ["d", "new"] {
            failures.extend(shapes::check(&Shape {
                what: "metadata",
                make: scene,
                options,
                sources: &["s/"],
                target,
            }));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

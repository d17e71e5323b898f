//! The drills that need no cluster manager: whoever plays it moves the service.

use super::scene::Place::{Here, Namespaces};
use super::scene::play;

/// Both nodes run, foo0 has the service, and foo1 is equal.
const MIRRORED: &str = "
    foo0 writes html/a one
    foo0 writes etc/a 1
    foo0 writes etc/b 1
    foo0 start = 0
    foo0 cycle = 0
    equal
";

macro_rules! drills {
    ($($name:ident in $place:ident: $steps:expr;)*) => {$(
        #[test]
        fn $name() {
            play($place, stringify!($name), &format!("{MIRRORED}{}", $steps));
        }
    )*};
}

drills! {
    an_orderly_switch_there_and_back in Namespaces: "
        foo0 writes html/late two
        foo0 stop = 0
        foo1 start = 0
        says html: primary, epoch 2
        equal
        foo1 writes html/late three
        foo1 stop = 0
        foo0 start = 0
        foo0 has html/late three
        foo0 cycle = 0
        equal
        foo0 status = 0
        hides kept:
    ";

    a_crash_and_the_return in Namespaces: "
        foo0 writes html/unsent x
        foo0 crashes
        foo1 start = 0
        foo1 writes html/b two
        foo0 boots
        foo0 cycle = 0
        foo1 cycle = 0
        equal
        foo0 lacks html/unsent
        foo0 status html = 0
        says kept: generation
        foo0 undo html -nv = 0
        says restored   unsent
    ";

    a_crash_of_the_crashed in Namespaces: "
        foo0 crashes
        foo1 start = 0
        foo1 writes html/b two
        foo1 crashes
        foo0 boots
        foo0 start = 0
        foo0 writes html/c three
        foo1 boots
        foo1 cycle = 0
        foo0 push --all = 80
        foo0 diverged html = 3
        foo1 diverged html = 3
        foo0 keeps foo0
        foo0 cycle = 0
        equal
        foo0 has html/c three
    ";

    a_healed_old_primary_that_never_went_down in Namespaces: "
        cut
        foo0 loses-service
        foo1 start = 0
        foo1 writes html/b two
        mend
        foo1 push --all = 80
        foo0 cycle = 0
        foo1 repairs
        foo1 cycle = 0
        equal
        foo0 has html/b two
    ";

    a_service_that_fails_back_by_itself in Namespaces: "
        foo0 crashes
        foo1 start = 0
        foo1 writes html/b two
        foo0 boots
        foo1 stop = 0
        foo0 start = 1
        says foo1
        foo0 loses-service
        foo1 start = 0
        foo0 cycle = 0
        foo1 repairs
        equal
        foo0 has html/b two
        foo1 stop = 0
        foo0 start = 0
        foo0 cycle = 0
        equal
    ";

    a_service_that_fails_back_after_recovery_at_boot in Namespaces: "
        foo0 crashes
        foo1 start = 0
        foo1 writes html/b two
        foo0 boots
        foo0 recover = 0
        foo1 stop = 0
        foo0 start = 0
        foo0 has html/b two
        foo0 cycle = 0
        equal
    ";

    a_partition_in_which_one_writes in Namespaces: "
        cut
        foo1 start = 0
        foo1 writes html/b two
        mend
        foo0 loses-service
        foo1 push --all = 80
        foo0 diverged html = 3
        says to keep what foo1 has
        says to keep what foo0 has
        foo0 keeps foo1
        foo1 cycle = 0
        equal
        foo0 has html/b two
    ";

    a_partition_in_which_both_write_keeping_the_new in Namespaces: "
        cut
        foo0 writes html/a of-foo0
        foo0 writes html/only-foo0 x
        foo1 start = 0
        foo1 writes html/a of-foo1
        mend
        foo1 push --all = 80
        foo1 diverged html = 3
        says to keep what foo0 has
        foo1 keeps foo1
        foo1 cycle = 0
        equal
        foo0 has html/a of-foo1
        foo0 undo html -nv = 0
        says only-foo0
    ";

    a_partition_in_which_both_write_keeping_the_old in Namespaces: "
        cut
        foo0 writes html/a of-foo0
        foo1 start = 0
        foo1 writes html/a of-foo1
        foo1 writes html/only-foo1 x
        mend
        foo0 cycle = 80
        foo0 diverged html = 3
        foo0 keeps foo0
        foo0 cycle = 0
        equal
        foo1 has html/a of-foo0
        foo1 undo html -nv = 0
        says only-foo1
    ";

    a_partition_with_fencing in Namespaces: "
        foo0 writes html/unsent x
        cut
        foo0 crashes
        foo1 start = 0
        foo1 writes html/b two
        foo0 boots
        mend
        foo0 cycle = 0
        foo1 cycle = 0
        equal
        foo0 undo html -nv = 0
        says unsent
    ";

    the_power_of_both_is_lost_in_a_commit in Namespaces: "
        foo0 writes html/a two
        foo0 writes html/b two
        foo1 dies-at rolled
        foo0 cycle = 12
        foo0 crashes
        foo1 crashes
        foo1 boots
        foo0 boots
        foo1 recover = 0
        says an interrupted commit is complete
        foo0 start = 0
        foo0 cycle = 0
        equal
        foo0 has html/b two
    ";

    the_power_of_both_is_lost_and_the_other_comes_first in Namespaces: "
        foo0 writes html/a two
        foo1 dies-at recorded
        foo0 cycle = 12
        foo0 crashes
        foo1 crashes
        foo1 boots
        foo1 start = 0
        foo1 has html/a two
        foo0 boots
        foo0 cycle = 0
        foo1 cycle = 0
        equal
    ";

    a_restart_in_place in Namespaces: "
        foo0 mirror restart = 0
        foo0 cycle = 0
        foo0 mirror restart = 0
        foo0 mirror restart = 0
        foo0 cycle = 0
        foo0 stop = 0
        foo1 start = 0
        foo1 cycle = 0
        equal
    ";

    an_undo_on_the_standby in Namespaces: "
        foo0 writes html/a two
        foo0 cycle = 0
        foo1 undo html = 0
        foo1 has html/a one
        foo0 cycle = 81
        foo0 diverged html = 3
        foo0 keeps foo0
        foo0 cycle = 0
        equal
        foo1 has html/a two
    ";

    an_undo_after_a_failover in Namespaces: "
        foo0 writes html/a two
        foo0 cycle = 0
        foo0 crashes
        foo1 start = 0
        foo1 undo html = 0
        foo1 has html/a one
        foo0 boots
        foo0 cycle = 0
        foo1 cycle = 0
        equal
        foo0 has html/a one
    ";

    the_state_of_the_primary_is_lost in Namespaces: "
        foo0 writes html/a two
        foo0 loses-state
        foo0 start = 1
        says here is generation none
        foo0 mirror start --force = 0
        foo0 cycle = 81
        foo0 diverged = 3
        foo0 keeps foo0
        foo0 cycle = 0
        equal
        foo1 has html/a two
    ";

    the_state_of_the_primary_is_lost_and_nothing_has_changed in Namespaces: "
        foo0 loses-state
        foo0 mirror start --force = 0
        foo0 cycle = 0
        equal
    ";

    the_state_of_the_standby_is_lost in Namespaces: "
        foo1 loses-state
        foo0 writes html/a two
        foo0 cycle = 0
        equal
    ";

    both_are_installed_again_over_their_data in Namespaces: "
        foo0 loses-state
        foo0 loses-records
        foo1 loses-state
        foo1 loses-records
        foo0 start = 0
        foo0 cycle = 0
        equal
        foo0 stop = 0
        foo1 start = 0
        foo1 cycle = 0
        equal
    ";
}

/// A cluster manager that restarts the mirror over and over, with nobody writing.
#[test]
fn sixty_six_promotions_without_a_change() {
    let restarts = "foo0 mirror restart = 0\n".repeat(66);
    let steps = format!(
        "{MIRRORED}{restarts}
        foo0 cycle = 0
        foo0 stop = 0
        foo1 start = 0
        foo1 cycle = 0
        equal
        "
    );
    play(Namespaces, "sixty_six_promotions_without_a_change", &steps);
}

/// The first push of all comes from the empty node, from the one with other files, from the right
/// one.
#[test]
fn the_first_push() {
    for (name, steps) in [
        (
            "one node is empty",
            "
            foo0 fills html 350 right
            foo0 writes etc/a right
            foo0 writes etc/b right
            foo1 start = 0
            foo1 cycle = 25
            foo0 has html/349 right
            foo1 stop = 0
            foo0 start = 0
            # Whether a group is empty nobody can tell: other files are around.
            foo0 cycle = 81
            foo0 keeps foo0
            equal
            foo1 has html/349 right
            ",
        ),
        (
            "the wrong node has other files",
            "
            foo0 fills html 350 right
            foo0 writes etc/a right
            foo0 writes etc/b right
            foo1 writes html/x wrong
            foo1 writes etc/a wrong
            foo1 writes etc/b wrong
            foo1 start = 0
            foo1 cycle = 25
            says --no-brake
            says foo1 would win
            foo0 has html/349 right
            foo0 has etc/a right
            foo0 lacks html/x
            foo1 stop = 0
            foo0 start = 0
            foo0 cycle = 81
            foo0 keeps foo0
            equal
            foo1 has etc/a right
            foo1 undo html -nv = 0
            says restored   x
            ",
        ),
        (
            "the wrong node is pushed, and that is undone",
            "
            foo0 fills html 350 right
            foo0 writes etc/a right
            foo0 writes etc/b right
            foo1 fills html 350 wrong
            foo1 writes etc/a wrong
            foo1 writes etc/b wrong
            foo1 start = 0
            foo1 push --tree html = 25
            foo1 push --all --no-brake = 0
            foo0 has html/349 wrong
            foo0 status = 0
            says kept: generation 2
            foo1 stop = 0
            foo0 undo html = 0
            foo0 undo conf = 0
            foo0 has html/349 right
            foo0 has etc/a right
            ",
        ),
        (
            "few files differ",
            "
            foo0 writes html/a one
            foo0 writes etc/a right
            foo0 writes etc/b right
            foo1 writes etc/a right
            foo1 writes etc/b right
            foo1 writes html/a other
            foo0 start = 0
            foo0 cycle = 0
            equal
            foo1 status html = 0
            says kept: generation 2
            ",
        ),
    ] {
        play(Namespaces, name, steps);
    }
}

/// A tree on a disk of its own that is not there.
#[test]
fn what_is_not_mounted() {
    for (name, mounts, steps) in [
        (
            "the source",
            "foo0 mounts html",
            "
            foo0 unmounts html
            foo0 cycle = 25
            foo1 has html/a one
            foo0 stop = 0
            foo0 start = 1
            says mounted
            foo0 promote html = 11
            foo1 has html/a one
            foo0 mounts html
            foo0 start = 0
            foo0 cycle = 0
            equal
            ",
        ),
        (
            "the standby, at a push",
            "foo1 mounts html",
            "
            foo0 writes html/a two
            foo1 unmounts html
            foo0 cycle = 11
            foo1 lacks html/a
            foo1 mounts html
            foo0 cycle = 0
            equal
            ",
        ),
        (
            "the standby, at a failover",
            "foo1 mounts html",
            "
            foo1 unmounts html
            foo1 status html = 0
            says mounted
            foo0 loses-service
            foo0 mirror stop = 0
            foo1 start = 1
            says mounted
            says this node is primary of conf and was not promoted of html
            foo1 promote html = 11
            foo1 mounts html
            foo1 start = 0
            foo1 cycle = 0
            equal
            ",
        ),
        (
            "the source, and its state is lost",
            "foo0 mounts html",
            "
            foo0 unmounts html
            foo0 loses-state
            foo0 cycle = 25
            foo1 has html/a one
            foo0 start = 1
            says foo1 is standby of tree html and ahead
            foo0 mounts html
            foo0 writes html/b two
            foo0 start = 1
            foo0 mirror start --force = 0
            foo0 cycle = 81
            foo0 keeps foo0
            foo0 cycle = 0
            equal
            foo1 has html/b two
            ",
        ),
        (
            "the standby, and its state is lost",
            "foo1 mounts html",
            "
            foo1 unmounts html
            foo1 loses-state
            foo0 writes html/b two
            # Nobody there knows of a disk any more.
            foo0 cycle = 0
            foo1 mounts html
            foo0 writes html/c three
            foo0 cycle = 0
            equal
            foo0 stop = 0
            foo1 start = 0
            foo1 cycle = 0
            equal
            ",
        ),
        (
            "a standby whose disk is too small for the last push",
            "foo1 mounts-16m html",
            "
            foo0 writes-32m html/large
            foo0 writes etc/a two
            foo0 stop = 0
            says the last push is not complete
            foo1 has etc/a two
            foo1 start = 0
            foo1 lacks html/large
            foo1 writes html/b two
            foo1 cycle = 0
            equal
            foo0 undo html -nv = 0
            says restored   large
            ",
        ),
        (
            "a head that was renamed away",
            "",
            "
            foo0 mirror stop = 0
            foo0 loses-service
            foo1 loses-records
            foo1 start = 1
            says has no record of it beside it
            foo1 promote html = 11
            ",
        ),
    ] {
        play(Here, name, &format!("{mounts}\n{MIRRORED}{steps}"));
    }
}

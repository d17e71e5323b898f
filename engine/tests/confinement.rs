//! A receiver is confined between its first hello and all that it does about it, and the connection
//! is bound to where that hello led.

#![allow(missing_docs, clippy::unwrap_used)]

mod halves;

use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use halves::{Log, duplex};
use hasync_engine::{
    Confinement, Connection, Error, ErrorKind, Options, ServePolicy, Summary, serve,
};

/// Writes down what is asked of it.
#[derive(Debug)]
struct Recorder {
    target: PathBuf,
    said: Mutex<Vec<String>>,
    is_bound: bool,
    /// The step that fails.
    fails: Option<&'static str>,
}

impl Recorder {
    fn step(&self, step: &'static str, facts: &str) -> Result<(), String> {
        self.said.lock().unwrap().push(format!("{step}{facts}"));
        match self.fails {
            Some(failing) if failing == step => Err("it is not to be".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Confinement for Recorder {
    fn is_bound(&self) -> bool {
        self.is_bound
    }

    fn forgo_trusted(&self) -> Result<(), String> {
        self.step("forgo", "")
    }

    fn about_to_open(&self) -> Result<(), String> {
        let exists = self.target.exists();
        self.step("open", &format!(", exists {exists}"))
    }

    fn confine(&self, dirs: &[BorrowedFd<'_>]) -> Result<(), String> {
        let is_target = dirs.first().is_some_and(|dir| {
            let (held, there) = (rustix::fs::fstat(dir), rustix::fs::stat(&self.target));
            held.unwrap().st_ino == there.unwrap().st_ino
        });
        let count = std::fs::read_dir(&self.target).map_or(0, Iterator::count);
        self.step("confine", &format!(", to it {is_target}, holding {count}"))
    }
}

/// Pushes a tree of one file to each of `targets` over one connection, with or without extended
/// attributes.
fn pushes(recorder: &Arc<Recorder>, targets: &[(&Path, bool)]) -> Vec<Result<Summary, Error>> {
    let source = tempfile::tempdir().unwrap();
    std::fs::write(source.path().join("file"), "new").unwrap();
    let policy = ServePolicy {
        confinement: Some(Arc::clone(recorder) as Arc<dyn Confinement>),
        ..ServePolicy::default()
    };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let half = spawn(move || {
        let _ = serve(duplex(&theirs), &policy);
    });
    let mut connection = Connection::open(duplex(&ours));
    drop(ours);
    let sources = [OsString::from(format!("{}/", source.path().display()))];
    let push = |(target, xattrs): &(&Path, bool)| {
        let target = target.as_os_str().as_encoded_bytes();
        let options = Options {
            xattrs: *xattrs,
            ..halves::options()
        };
        connection.push(&sources, target, &options, &mut Log::default())
    };
    let results = targets.iter().map(push).collect();
    drop(connection);
    half.join().unwrap();
    results
}

fn recorder(target: &Path, fails: Option<&'static str>) -> Arc<Recorder> {
    Arc::new(Recorder {
        target: target.to_owned(),
        said: Mutex::default(),
        is_bound: false,
        fails,
    })
}

#[test]
fn it_comes_once_before_anything_is_done_and_binds_the_connection() {
    let temp = tempfile::tempdir().unwrap();
    let (target, other) = (temp.path().join("target"), temp.path().join("other"));
    let recorder = recorder(&target, None);
    let results = pushes(
        &recorder,
        &[(&target, true), (&target, false), (&other, false)],
    );
    assert_eq!(
        *recorder.said.lock().unwrap(),
        ["open, exists false", "confine, to it true, holding 0"]
    );
    let [first, second, elsewhere] = &results[..] else {
        unreachable!("three pushes");
    };
    assert_eq!(first.as_ref().unwrap().transferred_files, 1);
    assert_eq!(second.as_ref().unwrap().transferred_files, 0);
    let refusal = elsewhere.as_ref().unwrap_err();
    assert_eq!(refusal.kind, ErrorKind::Usage);
    assert!(refusal.message.contains("open another one"), "{refusal:?}");
    assert!(!other.exists());
}

#[test]
fn what_the_first_push_does_not_set_no_later_one_does() {
    let unbound = [
        "open, exists true",
        "forgo",
        "confine, to it true, holding 0",
    ];
    for (is_bound, steps) in [(false, &unbound[..]), (true, &["forgo"])] {
        let target = tempfile::tempdir().unwrap();
        let recorder = Arc::new(Recorder {
            target: target.path().to_owned(),
            said: Mutex::default(),
            is_bound,
            fails: None,
        });
        let results = pushes(&recorder, &[(target.path(), false), (target.path(), true)]);
        assert_eq!(*recorder.said.lock().unwrap(), steps);
        assert_eq!(results[0].as_ref().unwrap().transferred_files, 1);
        let refusal = results[1].as_ref().unwrap_err();
        assert_eq!(refusal.kind, ErrorKind::Usage);
        assert!(refusal.message.contains("has given up"), "{refusal:?}");
    }
}

#[test]
fn one_that_is_bound_goes_on_anywhere_within() {
    let temp = tempfile::tempdir().unwrap();
    let (target, other) = (temp.path().join("target"), temp.path().join("other"));
    let mut recorder = Arc::into_inner(recorder(&target, None)).unwrap();
    recorder.is_bound = true;
    let recorder = Arc::new(recorder);
    let results = pushes(
        &recorder,
        &[(&target, true), (&other, false), (&other, true)],
    );
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    assert_eq!(*recorder.said.lock().unwrap(), [] as [&str; 0]);
}

#[test]
fn a_receiver_that_cannot_be_confined_receives_nothing() {
    for step in ["open", "forgo", "confine"] {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("target");
        std::fs::create_dir(&target).unwrap();
        let results = pushes(&recorder(&target, Some(step)), &[(&target, false)]);
        let refusal = results[0].as_ref().unwrap_err();
        assert!(refusal.message.contains("it is not to be"), "{refusal:?}");
        assert_eq!(std::fs::read_dir(&target).unwrap().count(), 0, "{step}");
    }
}

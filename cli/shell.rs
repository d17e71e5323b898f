//! Commands of the configuration: run by `sh -c`, with an end to every wait, and with what they
//! said at hand for a message.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use hasync_engine::escape;
use hasync_transport::ssh::quoted;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::exit;

/// The most that is kept of each output of a command, in bytes.
const MAX_OUTPUT_LEN: u64 = 64 * 1024;
/// How long after its end the outputs of a command are waited for: a child of its own may have
/// inherited them and stay.
const OUTPUT_WAIT: Duration = Duration::from_millis(500);
/// How often the end of a command is looked for.
const POLL: Duration = Duration::from_millis(10);
/// What a command gets between the two signals that end it.
const GRACE: Duration = Duration::from_secs(2);

/// The words as one command for a login shell.
pub(crate) fn command(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    words.join(" ")
}

/// What a command that ended by itself left behind.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Its exit code; 128 and the signal if one ended it.
    pub(crate) code: i32,
    /// What it wrote to standard output, without the last newline.
    pub(crate) stdout: String,
    /// The last line that it wrote to standard error, or else to standard output; escaped.
    pub(crate) last_words: String,
}

impl Ended {
    /// The exit code and the last words, for the end of a message.
    pub(crate) fn shown(&self) -> String {
        if self.last_words.is_empty() {
            format!("it left with exit code {}", self.code)
        } else {
            format!("it left with exit code {}: {}", self.code, self.last_words)
        }
    }
}

/// Runs `command` with these variables and this standard input. The error is why it could not be
/// run to its end, and has no subject: "it ...".
pub(crate) fn run(
    command: &str,
    variables: &[(&str, &str)],
    input: &[u8],
    timeout: Duration,
) -> Result<Ended, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|cause| format!("it cannot be started: {}", exit::cause(&cause)))?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A command may leave without reading: that is its right.
        thread::spawn(move || stdin.write_all(&input));
    }
    let stdout = child.stdout.take().map(collect);
    let stderr = child.stderr.take().map(collect);
    let code = wait(&mut child, timeout)?;
    let text = |output: Option<Receiver<Vec<u8>>>| {
        let bytes = output.and_then(|output| output.recv_timeout(OUTPUT_WAIT).ok());
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    };
    let (stdout, stderr) = (text(stdout), text(stderr));
    let last = |text: &str| {
        let line = text
            .lines()
            .rev()
            .map(str::trim)
            .find(|line| !line.is_empty());
        line.map(|line| {
            escape(line.as_bytes())
                .chars()
                .take(400)
                .collect::<String>()
        })
    };
    Ok(Ended {
        code,
        last_words: last(&stderr).or_else(|| last(&stdout)).unwrap_or_default(),
        stdout: stdout.trim_end_matches('\n').to_owned(),
    })
}

fn collect(output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let (mut kept, mut output) = (Vec::new(), output);
        let _ = (&mut output).take(MAX_OUTPUT_LEN).read_to_end(&mut kept);
        let _ = sender.send(kept);
        // What comes beyond that is read, or the command would wait for ever.
        let _ = std::io::copy(&mut output, &mut std::io::sink());
    });
    receiver
}

fn wait(child: &mut Child, timeout: Duration) -> Result<i32, String> {
    use std::os::unix::process::ExitStatusExt;
    let began = Instant::now();
    let mut asked = false;
    loop {
        match child.try_wait() {
            Ok(Some(_)) if asked => break,
            Ok(Some(status)) => {
                let signal = || 128 + status.signal().unwrap_or(0);
                return Ok(status.code().unwrap_or_else(signal));
            }
            Ok(None) => {}
            Err(cause) => return Err(format!("it cannot be waited for: {}", exit::cause(&cause))),
        }
        let elapsed = began.elapsed();
        if elapsed >= timeout + GRACE {
            end(child, Signal::SIGKILL);
            let _ = child.wait();
            break;
        }
        if elapsed >= timeout && !asked {
            asked = true;
            end(child, Signal::SIGTERM);
        }
        thread::sleep(POLL);
    }
    let seconds = timeout.as_secs_f64();
    Err(format!(
        "it was ended after {seconds} s; give it more time, or mend it"
    ))
}

/// The command may be a shell with children of its own: they go together.
fn end(child: &Child, signal: Signal) {
    if let Ok(pid) = i32::try_from(child.id()) {
        // It may be gone already.
        let _ = killpg(Pid::from_raw(pid), signal);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn variables_and_input_arrive_and_both_outputs_come_back() {
        let script = "cat; echo \"$HASYNC_X\"; echo first >&2; echo last >&2; exit 3";
        let ended = run(script, &[("HASYNC_X", "y")], b"in\n", LONG).unwrap();
        assert_eq!((ended.code, ended.stdout.as_str()), (3, "in\ny"));
        assert_eq!(ended.shown(), "it left with exit code 3: last");
    }

    #[test]
    fn a_command_that_reads_nothing_and_says_much_ends() {
        let ended = run("yes | head -c 1000000", &[], &[b'x'; 1_000_000], LONG).unwrap();
        assert_eq!(ended.code, 0);
        assert_eq!(ended.stdout.len(), MAX_OUTPUT_LEN as usize - 1);
    }

    #[test]
    fn a_command_that_does_not_end_is_ended_with_its_children() {
        let refusal = run(
            "sleep 1000 & sleep 1000",
            &[],
            b"",
            Duration::from_millis(50),
        );
        assert!(refusal.unwrap_err().starts_with("it was ended after"));
    }
}

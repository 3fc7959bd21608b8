//! Lua scripts that the server keeps by their digest.

use ::redis::{Arg, Cmd, ToRedisArgs};

/// A script whose text is known when the program is built. It is called by its digest; a server
/// that does not know it, after `SCRIPT FLUSH` or a restart, is sent its text.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    digest: String,
}

/// A script with its keys and arguments.
#[derive(Debug, Clone)]
pub struct ScriptCall {
    text: &'static str,
    by_digest: Cmd,
}

impl Script {
    /// The script with this text.
    #[must_use]
    pub fn new(text: &'static str) -> Self {
        Self { text, digest: ::redis::Script::new(text).get_hash().to_owned() }
    }

    /// Its SHA-1 in hexadecimal digits, by which the server knows it.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// A call with these `KEYS`, which share a slot where Redis is a cluster.
    #[must_use]
    pub fn call(&self, keys: &[impl ToRedisArgs]) -> ScriptCall {
        let mut by_digest = Cmd::new();
        by_digest.arg("EVALSHA").arg(&self.digest).arg(keys.len()).arg(keys);
        ScriptCall { text: self.text, by_digest }
    }
}

impl ScriptCall {
    /// With one more of `ARGV`, or several.
    #[must_use]
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.by_digest.arg(argument);
        self
    }

    /// With one more of `ARGV`, or several, in place.
    pub fn push(&mut self, argument: impl ToRedisArgs) {
        self.by_digest.arg(argument);
    }

    pub(super) const fn by_digest(&self) -> &Cmd {
        &self.by_digest
    }

    /// The same call with the script's text, which the server keeps from then on.
    pub(super) fn by_text(&self) -> Cmd {
        let mut command = Cmd::new();
        command.arg("EVAL").arg(self.text);
        for argument in self.by_digest.args_iter().skip(2) {
            if let Arg::Simple(bytes) = argument {
                command.arg(bytes);
            }
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Cmd) -> Vec<String> {
        let text = |argument| match argument {
            Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => panic!("an argument of another kind"),
        };
        command.args_iter().map(text).collect()
    }

    #[test]
    fn a_script_is_called_by_its_digest_and_else_by_its_text() {
        let script = Script::new("return 1");
        // `printf 'return 1' | sha1sum`
        let digest = "e0e1f9fabfc9d4800c877a703b823ac0578ff8db";
        assert_eq!(script.digest(), digest);
        let call = script.call(&["a", "b"]).arg(7).arg("x");
        assert_eq!(words(call.by_digest()), ["EVALSHA", digest, "2", "a", "b", "7", "x"]);
        assert_eq!(words(&call.by_text()), ["EVAL", "return 1", "2", "a", "b", "7", "x"]);
    }
}

//! Lua scripts that the server keeps by their digest.

use std::sync::Arc;

use ::redis::{Arg, Cmd, ToRedisArgs, Value};

use super::RedisError;

/// What runs the text of a script for each of several calls.
const FOR_EACH: &str = include_str!("for_each.lua");
/// Where the text stands in that.
const TEXT: &str = "--[[ text ]]";
/// Most calls that are executed at once: nobody else is served meanwhile.
const AT_ONCE: usize = 32;

/// A script whose text is known when the program is built. It is called by its digest; a server
/// that does not know it, after `SCRIPT FLUSH` or a restart, is sent its text.
#[derive(Debug)]
pub struct Script(Arc<Known>);

#[derive(Debug)]
struct Known {
    text: String,
    digest: String,
    /// Whether calls of it may be executed together.
    is_for_each: bool,
}

/// A script with its keys and arguments.
#[derive(Debug, Clone)]
pub struct ScriptCall {
    script: Arc<Known>,
    keys: usize,
    /// `KEYS`, and then `ARGV`.
    words: Cmd,
}

impl Script {
    /// The script with this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self::known(text.to_owned(), false)
    }

    /// The script with this text, of which several calls in one message may be executed together.
    /// One after the other, they see what the calls before have written; one that fails costs the
    /// others nothing. They share a table, `shared`, empty at first, for what is the same for all
    /// of them. None answers a bulk string, and none has more than 7,000 arguments: Lua unpacks no
    /// more at once.
    #[must_use]
    pub fn for_each(text: &str) -> Self {
        Self::known(FOR_EACH.replace(TEXT, text), true)
    }

    fn known(text: String, is_for_each: bool) -> Self {
        let digest = ::redis::Script::new(&text).get_hash().to_owned();
        Self(Arc::new(Known { text, digest, is_for_each }))
    }

    /// Its SHA-1 in hexadecimal digits, by which the server knows it.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// A call with these `KEYS`, which share a slot where Redis is a cluster.
    #[must_use]
    pub fn call(&self, keys: &[impl ToRedisArgs]) -> ScriptCall {
        let mut words = Cmd::new();
        words.arg(keys);
        ScriptCall { script: Arc::clone(&self.0), keys: keys.len(), words }
    }
}

impl ScriptCall {
    /// With one more of `ARGV`, or several.
    #[must_use]
    pub fn arg(mut self, argument: impl ToRedisArgs) -> Self {
        self.words.arg(argument);
        self
    }

    /// With one more of `ARGV`, or several, in place.
    pub fn push(&mut self, argument: impl ToRedisArgs) {
        self.words.arg(argument);
    }

    fn words(&self) -> impl Iterator<Item = &[u8]> {
        self.words.args_iter().filter_map(|word| match word {
            Arg::Simple(bytes) => Some(bytes),
            _ => None,
        })
    }
}

/// Calls that the server gets as one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a>(&'a [ScriptCall]);

impl<'a> Message<'a> {
    /// The call alone.
    pub(super) const fn of(call: &'a ScriptCall) -> Self {
        Self(std::slice::from_ref(call))
    }

    /// These calls in as few messages as possible, in their order.
    pub(super) fn of_all(calls: &'a [ScriptCall]) -> impl Iterator<Item = Self> {
        calls
            .chunk_by(|one, next| one.script.is_for_each && Arc::ptr_eq(&one.script, &next.script))
            .flat_map(|alike| alike.chunks(AT_ONCE))
            .map(Self)
    }

    /// How many calls these are.
    pub(super) const fn len(self) -> usize {
        self.0.len()
    }

    /// A key that it is about; all share a slot where Redis is a cluster.
    pub(super) fn key(self) -> Option<&'a [u8]> {
        self.0[0].words().take(self.0[0].keys).next()
    }

    pub(super) fn by_digest(self) -> Cmd {
        self.command("EVALSHA", &self.script().digest)
    }

    /// The same with the script's text, which the server keeps from then on.
    pub(super) fn by_text(self) -> Cmd {
        self.command("EVAL", &self.script().text)
    }

    fn script(self) -> &'a Known {
        &self.0[0].script
    }

    fn command(self, evaluate: &str, script: &str) -> Cmd {
        let mut command = Cmd::new();
        let keys: usize = self.0.iter().map(|call| call.keys).sum();
        command.arg(evaluate).arg(script).arg(keys);
        for call in self.0 {
            for key in call.words().take(call.keys) {
                command.arg(key);
            }
        }
        for call in self.0 {
            if self.script().is_for_each {
                command.arg(call.keys).arg(call.words().count() - call.keys);
            }
            for argument in call.words().skip(call.keys) {
                command.arg(argument);
            }
        }
        command
    }

    /// What became of each call.
    pub(super) fn answers(
        self,
        answer: Result<Value, RedisError>,
    ) -> Vec<Result<Value, RedisError>> {
        match answer {
            Ok(Value::Array(answers))
                if self.script().is_for_each && answers.len() == self.len() =>
            {
                let told = |answer| match answer {
                    Value::BulkString(said) => Err(RedisError::of_words(&said)),
                    answer => Ok(answer),
                };
                answers.into_iter().map(told).collect()
            }
            Ok(_) if self.script().is_for_each => {
                let error = RedisError::Rejected("no answer for each call".into());
                vec![Err(error); self.len()]
            }
            answer => vec![answer; self.len()],
        }
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
        let alone = Message::of(&call);
        assert_eq!(words(&alone.by_digest()), ["EVALSHA", digest, "2", "a", "b", "7", "x"]);
        assert_eq!(words(&alone.by_text()), ["EVAL", "return 1", "2", "a", "b", "7", "x"]);
    }
}

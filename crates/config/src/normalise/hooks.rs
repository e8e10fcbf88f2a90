//! The commands that run as a service starts and stops.

use crate::{
    location::quote,
    schema::{Field, Texts, service_metadata},
    value::Cursor,
};
use rtun_settings::{HookCommand, ServiceHooks};

/// The hooks of the service at `at`.
pub(super) fn read(at: &Cursor<'_>) -> ServiceHooks {
    let commands = |field| commands(at, &field);
    ServiceHooks {
        pre_up: commands(service_metadata::PRE_UP),
        post_up: commands(service_metadata::POST_UP),
        pre_down: commands(service_metadata::PRE_DOWN),
        post_down: commands(service_metadata::POST_DOWN),
        time_limit: at.or_default(&service_metadata::HOOK_TIMEOUT),
    }
}

/// Each text split into words as GOST does: by blanks, outside of quotes; a word that begins with `#` ends the text.
fn commands(at: &Cursor<'_>, field: &Field<Texts>) -> Vec<HookCommand> {
    let mut commands = Vec::new();
    for (text, at) in at.read(field).unwrap_or_default() {
        let text = text.trim().to_owned();
        let Some(words) = shlex::split(&text) else {
            at.error(format!("the command {} ends within quotes", quote(&text)))
                .help("close the quotes; a quote that is meant as it is has a `\\` before it");
            continue;
        };
        let mut words = words.into_iter();
        // A blank text, or a comment, is no command.
        let Some(program) = words.next() else { continue };
        if program.is_empty() || text.contains('\0') {
            at.error(format!("the command {} names no program", quote(&text)))
                .help("the first word is the program, the others are its arguments");
            continue;
        }
        commands.push(HookCommand { program, arguments: words.collect(), text });
    }
    commands
}

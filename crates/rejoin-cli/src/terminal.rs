//! The terminal: taken over for the picture, and given back whatever happens.

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};
use tokio::sync::mpsc;

/// How often the keyboard thread looks whether it is still wanted.
const POLL: Duration = Duration::from_millis(50);

/// What somebody pressed, as far as every picture knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// `q` or Escape: ends the picture.
    Quit,
    /// Ctrl-C, which a terminal in raw mode does not turn into a signal.
    Interrupt,
    /// A letter, small, or the space.
    Letter(char),
}

/// The terminal while it shows the picture. Dropping it gives it back; a panic does so before it is printed.
pub(crate) struct Stage {
    terminal: DefaultTerminal,
    wanted: Arc<AtomicBool>,
    keyboard: Option<JoinHandle<()>>,
}

impl Stage {
    /// Takes the terminal.
    pub(crate) fn take() -> io::Result<(Self, mpsc::UnboundedReceiver<Key>)> {
        let terminal = ratatui::try_init()?;
        let (sender, keys) = mpsc::unbounded_channel();
        let wanted = Arc::new(AtomicBool::new(true));
        let mut stage = Self { terminal, wanted: Arc::clone(&wanted), keyboard: None };
        let named = std::thread::Builder::new().name("keys".to_owned());
        stage.keyboard = Some(named.spawn(move || read_keys(&wanted, &sender))?);
        Ok((stage, keys))
    }

    /// Shows one frame.
    pub(crate) fn show(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(draw).map(|_| ())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::Relaxed);
        if let Some(keyboard) = self.keyboard.take() {
            // It ends within one poll; keys it would eat later belong to the shell.
            let _ = keyboard.join();
        }
        ratatui::restore();
    }
}

fn read_keys(wanted: &AtomicBool, keys: &mpsc::UnboundedSender<Key>) {
    while wanted.load(Ordering::Relaxed) {
        match event::poll(POLL) {
            Ok(false) => {}
            Ok(true) => match event::read() {
                Ok(event) => {
                    if let Some(key) = key_of(&event) {
                        let _ = keys.send(key);
                    }
                }
                Err(_) => return,
            },
            // No keyboard: the picture is shown without.
            Err(_) => return,
        }
    }
}

fn key_of(event: &Event) -> Option<Key> {
    let Event::Key(key) = event else { return None };
    if key.kind != KeyEventKind::Press {
        return None;
    }
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c' | 'C') if control => Key::Interrupt,
        _ if control => return None,
        KeyCode::Char('q' | 'Q') | KeyCode::Esc => Key::Quit,
        KeyCode::Char(letter) => Key::Letter(letter.to_ascii_lowercase()),
        _ => return None,
    })
}

/// The next key; never, where there is no keyboard any more.
pub(crate) async fn pressed(keys: &mut mpsc::UnboundedReceiver<Key>) -> Key {
    match keys.recv().await {
        Some(key) => key,
        None => std::future::pending().await,
    }
}

/// Whether a picture can be shown and is wanted: there is a terminal, and nothing else goes there.
pub(crate) fn wants_picture(no_tui: bool, json: bool) -> bool {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    !json && !no_tui && !dumb && io::stdout().is_terminal()
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn control_c_ends_and_c_is_a_letter() {
        let press = |code, modifiers| key_of(&Event::Key(KeyEvent::new(code, modifiers)));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), Some(Key::Letter('c')));
        assert_eq!(press(KeyCode::Char('q'), KeyModifiers::NONE), Some(Key::Quit));
        assert_eq!(press(KeyCode::Char(' '), KeyModifiers::NONE), Some(Key::Letter(' ')));
        assert_eq!(press(KeyCode::Char('F'), KeyModifiers::SHIFT), Some(Key::Letter('f')));
        assert_eq!(press(KeyCode::Char('x'), KeyModifiers::CONTROL), None);
    }
}

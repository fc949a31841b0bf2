//! Shows how far a run is: a bar on a terminal, a line each tenth elsewhere (stderr both).

use std::{
    io::{self, IsTerminal, Write},
    time::Instant,
};

const BAR_WIDTH: usize = 40;

/// The progress of one task with a known number of steps.
pub(crate) struct Progress {
    what: &'static str,
    total: u64,
    started: Instant,
    on_terminal: bool,
    /// Tenths told so far, where lines are written.
    tenths: u64,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let on_terminal = io::stderr().is_terminal();
        Self { what, total: total.max(1), started: Instant::now(), on_terminal, tenths: 0 }
    }

    pub(crate) fn show(&mut self, done: u64) {
        let done = done.min(self.total);
        let million_a_second = done as f64 / self.started.elapsed().as_secs_f64() / 1e6;
        let percent = done * 100 / self.total;
        if self.on_terminal {
            let filled = (done * BAR_WIDTH as u64 / self.total) as usize;
            let bar = "#".repeat(filled) + &".".repeat(BAR_WIDTH - filled);
            eprint!("\r{} [{bar}] {percent:3} %  {million_a_second:.2} M/s ", self.what);
            // A bar that cannot be shown is no reason to stop.
            _ = io::stderr().flush();
        } else if percent / 10 > self.tenths {
            self.tenths = percent / 10;
            eprintln!("{}: {percent} %, {million_a_second:.2} M/s", self.what);
        }
    }

    pub(crate) fn finish(mut self) {
        self.show(self.total);
        if self.on_terminal {
            eprintln!();
        }
    }
}

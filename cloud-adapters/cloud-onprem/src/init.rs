//! Which program starts services on a machine. Pure.

/// A program that starts and stops services, and that a gateway can be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Init {
    /// systemd.
    Systemd,
    /// OpenRC, whatever started it.
    OpenRc,
    /// Scripts in `/etc/init.d` and a place that says which of them start at boot: sysvinit, BusyBox.
    SysV,
}

impl Init {
    /// Every one, in the order in which a machine is asked for it: those behind systemd leave folders on machines that it
    /// runs, and OpenRC has the folder of SysV's scripts.
    pub const ALL: [Init; 3] = [Init::Systemd, Init::OpenRc, Init::SysV];

    /// The word for it that [`Init::probe`] leaves.
    pub fn word(self) -> &'static str {
        match self {
            Init::Systemd => "systemd",
            Init::OpenRc => "openrc",
            Init::SysV => "sysv",
        }
    }

    /// Reads a word.
    pub fn parse(word: &str) -> Option<Init> {
        Init::ALL.into_iter().find(|init| init.word() == word)
    }

    /// Shell text that succeeds where this one runs, given that none before it in [`Init::ALL`] does.
    pub fn test(self) -> &'static str {
        match self {
            // sd_booted(3).
            Init::Systemd => "[ -d /run/systemd/system ]",
            Init::OpenRc => "{ [ -d /run/openrc ] && command -v rc-service >/dev/null 2>&1; }",
            Init::SysV => {
                "{ [ -d /run ] && [ -d /etc/init.d ] && command -v start-stop-daemon >/dev/null 2>&1 && \
                 { [ -d /etc/rc2.d ] || [ -d /etc/rc.d/rc2.d ] || [ -f /etc/init.d/rcS ]; }; }"
            }
        }
    }

    /// Programs that only this one needs.
    pub fn tools(self) -> &'static str {
        match self {
            Init::Systemd => "systemctl",
            Init::OpenRc => "rc-update supervise-daemon",
            Init::SysV => "start-stop-daemon",
        }
    }

    /// Shell text that runs the text that `each` gives for the one that is there, and `other` where there is none.
    pub fn choose(each: impl Fn(Init) -> String, other: &str) -> String {
        let mut text = String::new();
        for (at, init) in Init::ALL.into_iter().enumerate() {
            let word = if at == 0 { "if" } else { "elif" };
            text.push_str(&format!("{word} {}; then {}; ", init.test(), each(init)));
        }
        text.push_str(&format!("else {other}; fi"));
        text
    }

    /// Shell text that leaves the word in `$i`, or `other`.
    pub fn probe() -> String {
        Init::choose(|init| format!("i={}", init.word()), "i=other")
    }
}

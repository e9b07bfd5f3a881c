//! The kinds of findings. Each has a section in `docs/findings.md`; a name that has been released never changes.

/// What kind of thing was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// A cloud could not be asked.
    CloudSilent,
    /// A host cannot become part of the fleet.
    HostObstacle,
    /// A host does not answer.
    HostSilent,
    /// A host is wanted and does not exist.
    HostMissing,
    /// A host exists and does not run.
    HostStopped,
    /// A site is not as the fleet made it.
    SiteDrift,
    /// Processes on a host can read its SSH key.
    UserDataShown,
    /// A host is for another architecture than the program.
    Architecture,
    /// A host has an older C library than the program wants.
    CLibrary,
    /// A host has no systemd.
    NoSystemd,
    /// A clock is off.
    ClockSkew,
    /// The kernel lacks something.
    KernelFeature,
    /// Another process has a port of the gateway's.
    PortTaken,
    /// A disk is full or nearly so.
    DiskFull,
    /// The firewall drops bridged frames.
    ForwardDrop,
    /// The overlay's addresses are used in the underlay.
    OverlayOverlaps,
    /// Two sites use the same addresses.
    SitesOverlap,
    /// An underlay leaves little room for frames.
    UnderlayMtu,
    /// The overlay's MTU is smaller than usual.
    OverlayMtu,
    /// The state knows nothing of a host.
    StateLacksHost,
    /// A gateway has another name than the state says.
    IdentityDiffers,
    /// A gateway does not run.
    GatewayInactive,
    /// A gateway was started again by itself.
    GatewayRestarts,
    /// A gateway does not start at boot.
    GatewayNotEnabled,
    /// Gateways are of different versions.
    VersionDiffers,
    /// Two gateways do not talk.
    PairSilent,
    /// Two gateways talk through another.
    Relayed,
    /// No two hosts of two sites talk directly.
    SitesNotDirect,
}

impl Id {
    /// Every kind.
    pub const ALL: [Id; 28] = [
        Id::CloudSilent,
        Id::HostObstacle,
        Id::HostSilent,
        Id::HostMissing,
        Id::HostStopped,
        Id::SiteDrift,
        Id::UserDataShown,
        Id::Architecture,
        Id::CLibrary,
        Id::NoSystemd,
        Id::ClockSkew,
        Id::KernelFeature,
        Id::PortTaken,
        Id::DiskFull,
        Id::ForwardDrop,
        Id::OverlayOverlaps,
        Id::SitesOverlap,
        Id::UnderlayMtu,
        Id::OverlayMtu,
        Id::StateLacksHost,
        Id::IdentityDiffers,
        Id::GatewayInactive,
        Id::GatewayRestarts,
        Id::GatewayNotEnabled,
        Id::VersionDiffers,
        Id::PairSilent,
        Id::Relayed,
        Id::SitesNotDirect,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Id::CloudSilent => "cloud-silent",
            Id::HostObstacle => "host-obstacle",
            Id::HostSilent => "host-silent",
            Id::HostMissing => "host-missing",
            Id::HostStopped => "host-stopped",
            Id::SiteDrift => "site-drift",
            Id::UserDataShown => "user-data-shown",
            Id::Architecture => "architecture",
            Id::CLibrary => "c-library",
            Id::NoSystemd => "no-systemd",
            Id::ClockSkew => "clock-skew",
            Id::KernelFeature => "kernel-feature",
            Id::PortTaken => "port-taken",
            Id::DiskFull => "disk-full",
            Id::ForwardDrop => "forward-drop",
            Id::OverlayOverlaps => "overlay-overlaps",
            Id::SitesOverlap => "sites-overlap",
            Id::UnderlayMtu => "underlay-mtu",
            Id::OverlayMtu => "overlay-mtu",
            Id::StateLacksHost => "state-lacks-host",
            Id::IdentityDiffers => "identity-differs",
            Id::GatewayInactive => "gateway-inactive",
            Id::GatewayRestarts => "gateway-restarts",
            Id::GatewayNotEnabled => "gateway-not-enabled",
            Id::VersionDiffers => "version-differs",
            Id::PairSilent => "pair-silent",
            Id::Relayed => "relayed",
            Id::SitesNotDirect => "sites-not-direct",
        }
    }

    /// Whether it is about what a fleet stands on, so that it matters before anything is created.
    pub fn is_of_ground(self) -> bool {
        matches!(
            self,
            Id::Architecture
                | Id::CLibrary
                | Id::NoSystemd
                | Id::ClockSkew
                | Id::KernelFeature
                | Id::PortTaken
                | Id::DiskFull
                | Id::ForwardDrop
                | Id::OverlayOverlaps
                | Id::UnderlayMtu
                | Id::StateLacksHost
        )
    }

    /// Where it is explained.
    pub fn anchor(self) -> String {
        format!("docs/findings.md#{}", self.as_str())
    }
}

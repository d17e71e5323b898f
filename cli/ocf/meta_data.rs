//! What the agent says of itself to the cluster's tools, in the form of ra-api-1.dtd. That form has
//! no reload-agent: as an agent of version 1.0 it is called with `reload` for the same.

/// The document.
pub(super) const TEXT: &str = r#"<?xml version="1.0"?>
<!DOCTYPE resource-agent SYSTEM "ra-api-1.dtd">
<resource-agent name="mirror" version="1.0">
<version>1.0</version>
<longdesc lang="en">
Keeps the directory trees of this node and its peer equal, as hasync is configured to. For a
promotable clone of two: the promoted instance is primary, and pushes the trees whenever hasync
cycle runs, from cron or a timer on both nodes; the other receives. A demotion pushes a last time.
The promotion score follows the order of generations: a node whose data is behind, diverged or not
known to be the newest is not preferred. Seed the pair from the node with the data, with hasync
promote and hasync push, before the cluster starts.
</longdesc>
<shortdesc lang="en">Mirrors directory trees between two nodes</shortdesc>
<parameters>
<parameter name="config" unique="0" required="0">
<longdesc lang="en">
The configuration of hasync, the same on both nodes and without a [role].
</longdesc>
<shortdesc lang="en">Configuration</shortdesc>
<content type="string" default="/etc/hasync/hasync.toml"/>
</parameter>
<parameter name="max_lag" unique="0" required="0">
<longdesc lang="en">
A standby that is further behind is shown as degraded: seconds, or a time such as 5m. Without it,
max_lag of the configuration, or three intervals.
</longdesc>
<shortdesc lang="en">Longest lag</shortdesc>
<content type="string"/>
</parameter>
</parameters>
<actions>
<action name="start" timeout="60s"/>
<action name="stop" timeout="120s"/>
<action name="monitor" timeout="30s" interval="10s" depth="0" role="Promoted"/>
<action name="monitor" timeout="30s" interval="11s" depth="0" role="Unpromoted"/>
<action name="promote" timeout="60s"/>
<action name="demote" timeout="120s"/>
<action name="notify" timeout="30s"/>
<action name="reload" timeout="30s"/>
<action name="validate-all" timeout="10s"/>
<action name="meta-data" timeout="5s"/>
</actions>
</resource-agent>
"#;

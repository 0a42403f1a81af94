/**
 * Programs that read what somebody else may have made (a repository, a new version's migrations) run in a transient unit of systemd
 * that reaches nobody and changes nothing but what it is given. @see systemd.exec(5)
 */

const CONFINEMENT = [
  'AmbientCapabilities=',
  'NoNewPrivileges=yes',
  'PrivateNetwork=yes',
  'RestrictAddressFamilies=AF_UNIX',
  'PrivateDevices=yes',
  'PrivateTmp=yes',
  'PrivateIPC=yes',
  'ProtectProc=invisible',
  'ProtectSystem=strict',
  'ProtectKernelTunables=yes',
  'ProtectKernelModules=yes',
  'ProtectKernelLogs=yes',
  'ProtectControlGroups=yes',
  'ProtectClock=yes',
  'ProtectHostname=yes',
  'RestrictNamespaces=yes',
  'RestrictSUIDSGID=yes',
  'LockPersonality=yes',
  'SystemCallArchitectures=native',
  'SystemCallFilter=@system-service',
  'UMask=0077',
  'TasksMax=64',
  'LimitCORE=0',
  'Environment=LANG=C.UTF-8',
];

/**
 * Arguments of `systemd-run`. Pure, so that a test can hold what the unit may do.
 *
 * @param options.properties what this unit has beside the confinement: its capabilities, memory, places.
 */
export function confinedUnit(options: {
  properties: readonly string[];
  maxSeconds: number;
  command: readonly string[];
}): string[] {
  const properties = [...CONFINEMENT, ...options.properties, `RuntimeMaxSec=${String(options.maxSeconds)}`];
  return [
    ...['--pipe', '--wait', '--collect', '--quiet', '--service-type=exec'],
    ...properties.flatMap((property) => ['-p', property]),
    '--',
    ...options.command,
  ];
}

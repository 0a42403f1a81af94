/** Settings from the environment, checked once at start. The only place that reads `process.env`. */
import { isIP, isIPv4 } from 'node:net';
import { userInfo } from 'node:os';
import { isAbsolute, resolve } from 'node:path';
import { HoldfastError } from './errors.ts';

export interface Config {
  /** Absolute path of the data folder. */
  dataDir: string;
  host: string;
  /** HTTPS port; 0 takes a free one. */
  port: number;
  /** Plain HTTP port that only redirects; undefined: none. */
  redirectPort: number | undefined;
  /** An outside PostgreSQL; undefined: the embedded one. */
  databaseUrl: string | undefined;
  tlsCertificateFile: string | undefined;
  tlsKeyFile: string | undefined;
  /** Program that shows an authority by DNS that a name is ours; undefined: that way is not open. */
  acmeDnsHook: string | undefined;
  logLevel: 'debug' | 'info' | 'warn' | 'error';
  /** How people reach the appliance, where it is not simply host and port: allowed `Origin` values. */
  origins: string[];
  /** Proxies whose `X-Forwarded-For` counts: addresses and networks. Nobody else's does. */
  trustedProxies: string[];
  /** Where keyd reads the root key that an unlock way opened; undefined: it keeps its own beside the keyring. */
  rootKeyFile: string | undefined;
  /** Folder of PostgreSQL's programs; undefined: those of the npm package. */
  postgresBin: string | undefined;
  /** Group that shares the places of the data folder that server and runs both need; undefined: one account does all. */
  sharedGroup: string | undefined;
  /** Socket of the root service of the machine image; undefined: this is no machine image. */
  hostSocket: string | undefined;
  /** Existing file that always holds the present claim code, for the machine's console; undefined: the supervisor says it. */
  claimCodeFile: string | undefined;
}

type Reader = (value: string, name: string) => unknown;

const SETTINGS: Record<string, Reader> = {
  HOLDFAST_DATA: readText,
  HOLDFAST_HOST: readText,
  HOLDFAST_PORT: readPort,
  HOLDFAST_REDIRECT_PORT: readPort,
  HOLDFAST_DATABASE_URL: readDatabaseUrl,
  HOLDFAST_TLS_CERT: readText,
  HOLDFAST_TLS_KEY: readText,
  HOLDFAST_ACME_DNS_HOOK: readPath,
  HOLDFAST_LOG: readLogLevel,
  HOLDFAST_ORIGINS: readOrigins,
  HOLDFAST_TRUSTED_PROXIES: readNetworks,
  HOLDFAST_ROOT_KEY_FILE: readPath,
  HOLDFAST_POSTGRES_BIN: readPath,
  HOLDFAST_SHARED_GROUP: readGroupName,
  HOLDFAST_HOST_SOCKET: readPath,
  HOLDFAST_CLAIM_CODE_FILE: readPath,
  HOLDFAST_OWN_MACHINE: readAllow,
};

/** Names that belong to tests and one-off commands, not to the appliance's settings. */
const OTHER_NAMES = /^HOLDFAST_(TEST|SETUP|OWNER|KIT)_/;

/**
 * @param env the environment; the process's own unless a test says otherwise.
 * @throws HoldfastError `invalid_input` for an unknown or malformed `HOLDFAST_…` setting, naming it.
 */
export function loadConfig(env: NodeJS.ProcessEnv = process.env): Config {
  const values = new Map<string, unknown>();
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith('HOLDFAST_') || value === undefined || OTHER_NAMES.test(name)) continue;
    const read = SETTINGS[name];
    if (read === undefined) {
      throw new HoldfastError('invalid_input', `Unknown setting ${name}`, {
        hint: `Known settings: ${Object.keys(SETTINGS).join(', ')}.`,
      });
    }
    if (value !== '') values.set(name, read(value, name));
  }
  const text = (name: string) => values.get(name) as string | undefined;
  const config: Config = {
    dataDir: resolve(text('HOLDFAST_DATA') ?? 'data'),
    host: text('HOLDFAST_HOST') ?? '0.0.0.0',
    port: (values.get('HOLDFAST_PORT') as number | undefined) ?? 8443,
    redirectPort: values.get('HOLDFAST_REDIRECT_PORT') as number | undefined,
    databaseUrl: text('HOLDFAST_DATABASE_URL'),
    tlsCertificateFile: text('HOLDFAST_TLS_CERT'),
    tlsKeyFile: text('HOLDFAST_TLS_KEY'),
    acmeDnsHook: text('HOLDFAST_ACME_DNS_HOOK'),
    logLevel: (values.get('HOLDFAST_LOG') as Config['logLevel'] | undefined) ?? 'info',
    origins: (values.get('HOLDFAST_ORIGINS') as string[] | undefined) ?? [],
    trustedProxies: (values.get('HOLDFAST_TRUSTED_PROXIES') as string[] | undefined) ?? [],
    rootKeyFile: text('HOLDFAST_ROOT_KEY_FILE'),
    postgresBin: text('HOLDFAST_POSTGRES_BIN'),
    sharedGroup: text('HOLDFAST_SHARED_GROUP'),
    hostSocket: text('HOLDFAST_HOST_SOCKET'),
    claimCodeFile: text('HOLDFAST_CLAIM_CODE_FILE'),
  };
  if ((config.tlsCertificateFile === undefined) !== (config.tlsKeyFile === undefined)) {
    throw new HoldfastError('invalid_input', 'HOLDFAST_TLS_CERT and HOLDFAST_TLS_KEY go together', {
      hint: 'Set both, or neither to let the appliance make a self-signed certificate.',
    });
  }
  return config;
}

/** An environment variable that a one-off command asks for by name, such as a password for set-up. */
export function readSecretVariable(name: string): string | undefined {
  return process.env[name];
}

/** Folder of PostgreSQL's programs, for those who start a server deep inside a run. */
export function postgresBinDirectory(): string | undefined {
  return process.env.HOLDFAST_POSTGRES_BIN || undefined;
}

/** Whether server and runs are different accounts that share files through a group. */
export function isSharedWithGroup(): boolean {
  return (process.env.HOLDFAST_SHARED_GROUP ?? '') !== '';
}

/** Whether targets over the network may lie on this machine: for tests, and for trials on a single machine. */
export function mayReachOwnMachine(): boolean {
  return process.env.HOLDFAST_OWN_MACHINE === 'allow';
}

/** Where a container of a cloud gets the key of its role (ECS, EKS Pod Identity); undefined elsewhere. */
export function containerRole():
  { url: string; tokenFile: string | undefined; token: string | undefined } | undefined {
  const relative = process.env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI;
  const full = process.env.AWS_CONTAINER_CREDENTIALS_FULL_URI;
  const url = relative ? `http://169.254.170.2${relative}` : full;
  if (!url) return undefined;
  return {
    url,
    tokenFile: process.env.AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE || undefined,
    token: process.env.AWS_CONTAINER_AUTHORIZATION_TOKEN || undefined,
  };
}

/** Folder of the credentials that systemd hands to a service ("systemd.exec(5)", LoadCredential); undefined where there are none. */
export function credentialsDirectory(): string | undefined {
  return process.env.CREDENTIALS_DIRECTORY || undefined;
}

/** What systemd hands to a service that tells it how it does ("sd_notify(3)"); undefined where nobody listens. */
export function serviceManagerAddress(): { socket: string; watchdogMs: number | undefined } | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: watchdog } = process.env;
  if (socket === undefined || socket === '') return undefined;
  const watchdogMs = Number(watchdog ?? '') / 1000;
  return { socket, watchdogMs: watchdogMs > 0 ? watchdogMs : undefined };
}

/** Environment for a child of ours: the settings, and what a program needs to run; nothing else of the parent's. */
export function childEnvironment(extra: Record<string, string> = {}): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value === undefined) continue;
    const wanted =
      name.startsWith('HOLDFAST_') ||
      ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'LD_LIBRARY_PATH', 'LD_PRELOAD'].includes(name) ||
      ['NODE_OPTIONS', 'NODE_EXTRA_CA_CERTS', 'NODE_COMPILE_CACHE', 'FAKETIME'].includes(name) ||
      ['NODE_USE_ENV_PROXY', 'HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].includes(name);
    if (wanted) kept[name] = value;
  }
  // glibc keeps freed memory in one pool per thread that ever allocated; two serve threads that mostly use their own buffers.
  return { MALLOC_ARENA_MAX: '2', ...kept, ...extra };
}

/** The proxy by which requests go out, as Node takes it; undefined where there is none. */
export function outgoingProxy(): Record<string, string> | undefined {
  const { NODE_USE_ENV_PROXY: use, HTTPS_PROXY: proxy, NO_PROXY: except } = process.env;
  if (use !== '1' || proxy === undefined || proxy === '') return undefined;
  return { HTTPS_PROXY: proxy, ...(except === undefined ? {} : { NO_PROXY: except }) };
}

/** Name of the operating-system account this process runs under; its number where it has no name. */
export function accountName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}

function readText(value: string): string {
  return value;
}

function readPath(value: string, name: string): string {
  if (isAbsolute(value) && !value.includes('\0')) return value;
  throw new HoldfastError('invalid_input', `${name} is not an absolute path: ${value}`, {
    hint: 'Give the whole path, beginning with /.',
  });
}

function readAllow(value: string, name: string): string {
  if (value === 'allow') return value;
  throw new HoldfastError('invalid_input', `${name} is not \`allow\`: ${value}`, {
    hint: 'Leave it out to refuse.',
  });
}

function readGroupName(value: string, name: string): string {
  if (/^[a-z_][a-z0-9_-]{0,31}$/.test(value)) return value;
  throw new HoldfastError('invalid_input', `${name} is no name of a group: ${value}`);
}

function readPort(value: string, name: string): number {
  const port = Number(value);
  if (!/^\d{1,5}$/.test(value) || port > 65_535) {
    throw new HoldfastError('invalid_input', `${name} is no port number: ${value}`, {
      hint: 'Use 1 to 65535; 0 takes any free port.',
    });
  }
  return port;
}

function readDatabaseUrl(value: string, name: string): string {
  if (!/^postgres(ql)?:\/\//.test(value)) {
    throw new HoldfastError('invalid_input', `${name} is no PostgreSQL address`, {
      hint: 'It looks like postgresql://user@host:5432/database?sslmode=verify-full.',
    });
  }
  return value;
}

function readLogLevel(value: string, name: string): string {
  if (!['debug', 'info', 'warn', 'error'].includes(value)) {
    throw new HoldfastError('invalid_input', `${name} is not one of debug, info, warn, error: ${value}`);
  }
  return value;
}

function readOrigins(value: string, name: string): string[] {
  return value.split(',').map((origin) => {
    const trimmed = origin.trim();
    if (!/^https:\/\/[^/\s]+$/.test(trimmed)) {
      throw new HoldfastError(
        'invalid_input',
        `${name} holds something that is no https origin: ${trimmed}`,
        {
          hint: 'Use for example https://vault.example.com, several with commas.',
        },
      );
    }
    return trimmed;
  });
}

/** Every network must have an end: `0.0.0.0/0` would let anybody say where they come from. */
function readNetworks(value: string, name: string): string[] {
  return value.split(',').map((part) => {
    const entry = part.trim();
    const [address = '', bits, ...rest] = entry.split('/');
    const most = isIPv4(address) ? 32 : 128;
    const fits = bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) >= 8 && Number(bits) <= most);
    if (isIP(address) !== 0 && !address.includes('%') && fits && rest.length === 0) return entry;
    throw new HoldfastError(
      'invalid_input',
      `${name} holds something that is no address or network: ${entry}`,
      {
        hint: 'Name each proxy, for example 192.0.2.7 or 2001:db8:1::/64, several with commas.',
      },
    );
  });
}

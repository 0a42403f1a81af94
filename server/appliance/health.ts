/**
 * What is well and what is not, with what to do: the one list behind `holdfast doctor` and the health page. Each check
 * stands alone, so that one that fails or hangs hides none of the others.
 */
import { stat, statfs } from 'node:fs/promises';
import type { KeyClient } from '../keys/index.ts';
import type { Clock } from '../lib/clock.ts';
import type { Config } from '../lib/config.ts';
import { readServerFacts } from '../lib/database-facts.ts';
import type { Database } from '../lib/db.ts';
import { messageOf } from '../lib/errors.ts';
import { dataDiskLevel } from '../monitoring/index.ts';
import { loadTlsIdentity } from '../lib/tls.ts';
import { readExpiry } from './certificate/expiry.ts';
import { getAppliance } from './queries.ts';
import type { HealthCheck } from './schema.ts';

export interface HealthDeps {
  config: Config;
  dataDir: string;
  db: Database;
  clock: Clock;
  keys: Pick<KeyClient, 'status'>;
}

type Check = (deps: HealthDeps) => Promise<HealthCheck[]>;

const CHECK_TIMEOUT_MS = 10_000;
const DAY_MS = 86_400_000;
const CHECKS: Record<string, Check> = {
  database: checkDatabase,
  keyring: checkKeyring,
  ownership: checkOwnership,
  'recovery kit': checkKit,
  'data folder': checkDataFolder,
  'data disk': checkDisk,
  certificate: checkCertificate,
};

/** @param more checks of other parts, by name, such as each target. */
export async function checkHealth(
  deps: HealthDeps,
  more: Record<string, Check> = {},
): Promise<HealthCheck[]> {
  const all = Object.entries({ ...CHECKS, ...more });
  const results = await Promise.all(all.map(([name, check]) => runCheck(name, check, deps)));
  return results.flat();
}

async function runCheck(name: string, check: Check, deps: HealthDeps): Promise<HealthCheck[]> {
  const timeout = Promise.withResolvers<HealthCheck[]>();
  const timer = setTimeout(
    () => timeout.resolve([{ name, state: 'bad', message: `No answer within ${CHECK_TIMEOUT_MS / 1000} s` }]),
    CHECK_TIMEOUT_MS,
  );
  try {
    return await Promise.race([check(deps), timeout.promise]);
  } catch (error) {
    return [{ name, state: 'bad', message: messageOf(error), ...hintOf(error) }];
  } finally {
    clearTimeout(timer);
  }
}

function hintOf(error: unknown): { hint?: string } {
  const hint = error instanceof Error && 'hint' in error ? error.hint : undefined;
  return typeof hint === 'string' ? { hint } : {};
}

async function checkDatabase(deps: HealthDeps): Promise<HealthCheck[]> {
  const name = 'database';
  const facts = await readServerFacts(deps.db);
  if (!facts.dataChecksums) {
    return [
      {
        name,
        state: 'warn',
        message: `PostgreSQL ${facts.version} answers, without data checksums: rot on its disk would go unseen`,
        hint: 'Stop it and run pg_checksums --enable.',
      },
    ];
  }
  return [{ name, state: 'ok', message: `PostgreSQL ${facts.version} answers; data checksums are on` }];
}

async function checkKeyring(deps: HealthDeps): Promise<HealthCheck[]> {
  const name = 'keyring';
  const status = await deps.keys.status();
  const notices = status.notices.map((notice): HealthCheck => ({ name, state: 'warn', message: notice }));
  if (!status.coreDumpsOff) {
    notices.push({
      name,
      state: 'warn',
      message: 'A crash of keyd could write keys to a core file',
      hint: 'Set `ulimit -c 0` for the account that runs Holdfast.',
    });
  }
  const main: HealthCheck = { name, state: 'ok', message: `keyd answers; ${status.keyCount} keys` };
  return [main, ...notices];
}

async function checkOwnership(deps: HealthDeps): Promise<HealthCheck[]> {
  const name = 'ownership';
  const appliance = await getAppliance(deps.db);
  if (appliance.claimed_at === null) {
    return [
      {
        name,
        state: 'warn',
        message: 'Nobody has claimed this appliance yet',
        hint: 'Open it in a browser and give the claim code; `holdfast claim-code` makes a new one.',
      },
    ];
  }
  const checks: HealthCheck[] = [{ name, state: 'ok', message: `Claimed on ${day(appliance.claimed_at)}` }];
  if (appliance.name === null || appliance.region === null) {
    checks.push({
      name,
      state: 'warn',
      message: 'It has no name or region yet',
      hint: 'Finish the set-up in the browser.',
    });
  }
  return checks;
}

async function checkKit(deps: HealthDeps): Promise<HealthCheck[]> {
  const name = 'recovery kit';
  const { repository } = await deps.keys.status();
  const newest = repository.kits
    .map((kit) => kit.provenAt)
    .sort()
    .at(-1);
  if (newest === undefined) {
    return [
      {
        name,
        state: 'bad',
        message: 'No recovery kit is proven: nothing can be backed up',
        hint: 'Make one under Settings and prove it.',
      },
    ];
  }
  const days = Math.floor((deps.clock.now().getTime() - Date.parse(newest)) / DAY_MS);
  if (days > 180) {
    return [
      {
        name,
        state: 'warn',
        message: `No recovery kit was proven for ${days} days`,
        hint: 'Run a restore test with the kit, to know that it is still there.',
      },
    ];
  }
  return [{ name, state: 'ok', message: `${repository.kits.length} proven, last on ${newest.slice(0, 10)}` }];
}

async function checkDataFolder(deps: HealthDeps): Promise<HealthCheck[]> {
  const name = 'data folder';
  const facts = await stat(deps.dataDir);
  const others = deps.config.sharedGroup === undefined ? 0o066 : 0o006;
  if ((facts.mode & others) !== 0) {
    const mode = (facts.mode & 0o777).toString(8);
    return [
      {
        name,
        state: 'bad',
        message: `${deps.dataDir} can be listed by other accounts (mode ${mode})`,
        hint: `Run: chmod 711 ${deps.dataDir}`,
      },
    ];
  }
  return [{ name, state: 'ok', message: deps.dataDir }];
}

async function checkDisk(deps: HealthDeps): Promise<HealthCheck[]> {
  const name = 'data disk';
  const { freeBytes, totalBytes } = await readDataDisk(deps);
  const percent = (1 - freeBytes / totalBytes) * 100;
  const message = `${Math.round(percent)} % in use, ${(freeBytes / 2 ** 30).toFixed(1)} GiB free`;
  // At 80, 90 and 95 %; what goes up and down there stays said.
  const level = await dataDiskLevel(deps.db, percent);
  if (level === 0) return [{ name, state: 'ok', message }];
  const state = level === 1 ? 'warn' : 'bad';
  return [
    { name, state, message, hint: 'Free some space or give the disk more; restore tests need room too.' },
  ];
}

/** Space on the disk that holds the data folder. */
export async function readDataDisk(
  deps: Pick<HealthDeps, 'dataDir'>,
): Promise<{ freeBytes: number; totalBytes: number }> {
  const facts = await statfs(deps.dataDir);
  // What the file system keeps for root is no room of ours: counted as the capacity page and the limit of uploads do.
  const used = facts.blocks - facts.bfree;
  return { freeBytes: facts.bavail * facts.bsize, totalBytes: (used + facts.bavail) * facts.bsize };
}

async function checkCertificate(deps: HealthDeps): Promise<HealthCheck[]> {
  const name = 'certificate';
  const identity = await loadTlsIdentity(deps.config, deps.clock);
  const days = Math.floor((identity.expiresAt.getTime() - deps.clock.now().getTime()) / DAY_MS);
  const expiry = await readExpiry(deps);
  if (expiry !== undefined) {
    const { message, hint } = expiry;
    return [{ name, state: days < 7 ? 'bad' : 'warn', message, hint }];
  }
  const kind = identity.selfSigned ? 'Self-signed' : 'Given';
  return [{ name, state: 'ok', message: `${kind}, good for ${days} days, SHA-256 ${identity.fingerprint}` }];
}

function day(at: Date): string {
  return at.toISOString().slice(0, 10);
}

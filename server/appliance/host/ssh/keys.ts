/**
 * Public keys as OpenSSH writes them: the authority that the owner names, and the machine's own. Guarantees: what `readAuthority`
 * returns is one line that sshd takes for one key and for nothing else; a private key is refused before any program or log sees it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { HoldfastError } from '../../../lib/errors.ts';
import { makePrivateDirectory, readFileIfPresent, writeFileDurably } from '../../../lib/files.ts';
import { runProcess } from '../../../lib/spawn.ts';
import type { HostPlaces } from '../host-places.ts';
import type { SshKeyFacts } from './schema.ts';

const COMMAND_MS = 20_000;
const LEAST_RSA_BITS = 3_072;
const KINDS =
  /^(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(?:256|384|521)|sk-ssh-ed25519@openssh\.com|sk-ecdsa-sha2-nistp256@openssh\.com)$/;
const HINT = 'Paste the line of the .pub file that `ssh-keygen -t ed25519 -f authority` makes.';

export interface PublicKey {
  /** Kind and key, without comment: fit for a file of sshd. */
  line: string;
  facts: SshKeyFacts;
}

/** @throws HoldfastError `invalid_input` that says what it is instead; never with any of the text in it. */
export async function readAuthority(text: string): Promise<PublicKey> {
  const refuse = (message: string, hint = HINT) => new HoldfastError('invalid_input', message, { hint });
  if (/PRIVATE KEY|PuTTY-User-Key-File/i.test(text)) {
    throw refuse(
      'This is a private key, which must not leave the place it was made in',
      'It was not kept. Treat it as seen by others and make a new one; the authority is named by its public half, the file that ends in .pub.',
    );
  }
  const [line = '', more] = text
    .split(/\r?\n/)
    .map((part) => part.trim())
    .filter((part) => part !== '' && !part.startsWith('#'));
  if (line === '') throw refuse('The public key of the authority is missing');
  if (more !== undefined) throw refuse('These are several lines, and one authority is named by one');
  const [kind = '', key = '', ...comment] = line.split(/\s+/);
  if (kind.includes('-cert-v01@')) {
    throw refuse(
      'This is a certificate, not the authority that signs them',
      'The authority is the key that `ssh-keygen -s` is given; paste its .pub file.',
    );
  }
  if (!KINDS.test(kind) || !/^[A-Za-z0-9+/]{40,4096}={0,2}$/.test(key))
    throw refuse('This is not a public key of a kind that SSH takes here');
  const facts = await describeKey(`${kind} ${key} ${printable(comment.join(' '))}`.trim());
  if (facts === undefined) throw refuse('This is not a whole public key');
  if (facts.kind === 'RSA' && facts.bits < LEAST_RSA_BITS)
    throw refuse(`This RSA key has ${facts.bits} bits, and ${LEAST_RSA_BITS} are the least`);
  return {
    line: `${kind} ${key}`,
    facts: { fingerprint: facts.fingerprint, kind: facts.kind, comment: printable(comment.join(' ')) },
  };
}

/** By ssh-keygen. @returns undefined for what it does not take. */
async function describeKey(line: string): Promise<(SshKeyFacts & { bits: number }) | undefined> {
  const said = await runProcess('ssh-keygen', ['-l', '-f', '-'], {
    timeoutMs: COMMAND_MS,
    input: `${line}\n`,
  });
  const [, bits, fingerprint = '', comment = '', kind = ''] =
    /^(\d+) (SHA256:[A-Za-z0-9+/]{43}) (.*) \(([A-Z0-9-]+)\)\n$/.exec(said.stdout) ?? [];
  if (said.exitCode !== 0 || bits === undefined) return undefined;
  return { fingerprint, kind, comment, bits: Number(bits) };
}

/** As the owner wrote it, short and without what could end a line or steer a terminal. */
function printable(comment: string): string {
  return comment.replace(/[^\x20-\x7e]/g, '').slice(0, 100);
}

/** On the data volume: who holds a copy of the system disk learns no key and cannot put in an authority. */
export function sshFolder(places: Pick<HostPlaces, 'data'>): string {
  return join(places.data, 'ssh');
}

export function hostKeyPath(places: Pick<HostPlaces, 'data'>): string {
  return join(sshFolder(places), 'host_ed25519_key');
}

function authorityPath(places: Pick<HostPlaces, 'data'>): string {
  return join(sshFolder(places), 'authority.pub');
}

export async function keepAuthority(places: Pick<HostPlaces, 'data'>, key: PublicKey): Promise<void> {
  await makePrivateDirectory(sshFolder(places), 0o700);
  await writeFileDurably(authorityPath(places), `${key.line} ${key.facts.comment}`.trim().concat('\n'), {
    step: 'host.ssh.authority',
  });
}

/** The one of the last time. */
export async function readKeptAuthority(places: Pick<HostPlaces, 'data'>): Promise<PublicKey | undefined> {
  const kept = await readFileIfPresent(authorityPath(places));
  return kept === undefined ? undefined : readAuthority(kept.toString('utf8'));
}

/** @returns undefined while this machine has made none. */
export async function readHostKey(places: Pick<HostPlaces, 'data'>): Promise<SshKeyFacts | undefined> {
  if ((await readFileIfPresent(hostKeyPath(places))) === undefined) return undefined;
  const half = await runProcess('ssh-keygen', ['-y', '-f', hostKeyPath(places)], { timeoutMs: COMMAND_MS });
  const facts = half.exitCode === 0 ? await describeKey(half.stdout.trim()) : undefined;
  if (facts !== undefined)
    return { fingerprint: facts.fingerprint, kind: facts.kind, comment: facts.comment };
  throw new HoldfastError('integrity_failure', "The machine's SSH key cannot be read", {
    hint: `Remove ${hostKeyPath(places)} at the console; a new one is made when SSH is next opened.`,
  });
}

/** Made once, in memory; a power cut leaves none on the disk, never half of one. */
export async function ensureHostKey(places: Pick<HostPlaces, 'data' | 'run'>): Promise<SshKeyFacts> {
  const present = await readHostKey(places);
  if (present !== undefined) return present;
  const work = await mkdtemp(join(places.run, 'ssh-key-'));
  try {
    const fresh = join(work, 'key');
    const options = ['-q', '-t', 'ed25519', '-N', '', '-C', 'holdfast', '-f', fresh];
    const made = await runProcess('ssh-keygen', options, { timeoutMs: COMMAND_MS });
    const content = made.exitCode === 0 ? await readFileIfPresent(fresh) : undefined;
    if (content === undefined) {
      throw new HoldfastError('unavailable', "The machine's SSH key could not be made", {
        detail: made.stderr.slice(-500),
      });
    }
    await makePrivateDirectory(sshFolder(places), 0o700);
    await writeFileDurably(hostKeyPath(places), content, { step: 'host.ssh.key' });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const facts = await readHostKey(places);
  if (facts === undefined) throw new HoldfastError('internal', "The machine's SSH key is gone again");
  return facts;
}

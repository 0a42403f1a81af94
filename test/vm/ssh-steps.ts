/** SSH for a limited time, on the machine itself: systemd, sshd, accounts and packet filter as they are there. */
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { OpenedSsh, SshState } from '../../server/appliance/host/ssh/schema.ts';
import { endOf, runProcess, startProcess } from '../../server/lib/spawn.ts';
import { expectStatus } from '../helpers/served-appliance.ts';
import { waitFor } from '../helpers/wait-for.ts';
import { must } from './machine.ts';
import { openPorts } from './network.ts';
import { firstOf, secondsSince, type Step, type Walk } from './walk.ts';

export const SSH_STEPS: readonly Step[] = [{ name: 'SSH, opened and closed again', act: visitBySsh }];

const ENTRY_LIMIT_MS = 120_000;

async function visitBySsh(walk: Walk): Promise<Record<string, unknown>> {
  const { caller, network } = firstOf(walk);
  const keys = await makeKeys(walk.folder);
  const wanted = { authority: keys.authority, minutes: 15, reason: 'A walk through what may happen' };
  const startedAt = performance.now();
  const opened = await expectStatus(caller.call<OpenedSsh>('POST', '/host/ssh', wanted), 201);
  const secondsToOpen = secondsSince(startedAt);
  const enter = (passphrase: string, command: string) =>
    visit(walk.folder, network.address, passphrase, command);

  const refused = await enter('AAAA-BBBB', 'id');
  if (refused.exitCode !== 255 || refused.stdout !== '')
    throw new Error(`A wrong passphrase got in: ${refused.stdout}`);
  // Every unit of ours runs, the hardening of the running system holds, and what is not theirs is not there.
  const inside = await enter(
    opened.passphrase,
    'id -un; systemctl is-system-running; cat /proc/self/status | grep -E "^(CapPrm|NoNewPrivs)"; ' +
      'ls /data/holdfast /state 2>&1; journalctl --quiet --lines=1 --output=cat > /dev/null && echo journal',
  );
  const expected =
    /^holdfast-support\n(\w+)\nCapPrm:\s0{16}\nNoNewPrivs:\s1\n[^]*Permission denied[^]*\njournal\n$/;
  const systemIs = expected.exec(inside.stdout)?.[1];
  if (systemIs === undefined) throw new Error(`Inside: ${inside.stdout}\n${inside.stderr}`);

  const staying = startVisit(walk.folder, network.address, opened.passphrase, 'echo inside; sleep 600');
  const ended = endOf(staying);
  const entered = new Promise((resolve) => staying.stdout?.once('data', resolve));
  await Promise.race([entered, ended.then(() => Promise.reject(new Error('A second visit was refused')))]);
  const closed = await expectStatus(caller.call<SshState>('DELETE', '/host/ssh'), 200);
  if (closed.open !== null) throw new Error('It says that SSH is still open');
  await waitFor('a visit to end with it', () => staying.exitCode !== null, ENTRY_LIMIT_MS);
  await ended;
  const ports = await openPorts(network.address);
  if (ports.includes(22)) throw new Error('Port 22 is still open');
  return { secondsToOpen, systemIs, ports };
}

/** An authority, and a key with its certificate for the account that SSH lets in. */
async function makeKeys(folder: string): Promise<{ authority: string }> {
  const at = (name: string) => join(folder, name);
  for (const name of ['ssh-authority', 'ssh-visitor']) {
    for (const file of [at(name), at(`${name}.pub`)]) rmSync(file, { force: true });
    await must('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', at(name)]);
  }
  const certificate = ['-I', 'visitor', '-n', 'holdfast-support', '-V', '-5m:+1h'];
  await must('ssh-keygen', ['-q', '-s', at('ssh-authority'), ...certificate, at('ssh-visitor.pub')]);
  writeFileSync(at('ssh-ask'), `#!/bin/sh\ncat ${at('ssh-secret')}\n`);
  chmodSync(at('ssh-ask'), 0o700);
  return { authority: await must('cat', [at('ssh-authority.pub')]) };
}

function visit(folder: string, address: string, passphrase: string, command: string) {
  const { args, env } = visitor(folder, address, passphrase, command);
  return runProcess('ssh', args, { timeoutMs: ENTRY_LIMIT_MS, env });
}

function startVisit(folder: string, address: string, passphrase: string, command: string) {
  const { args, env } = visitor(folder, address, passphrase, command);
  return startProcess('ssh', args, { env, stdio: ['ignore', 'pipe', 'ignore'] });
}

function visitor(folder: string, address: string, passphrase: string, command: string) {
  const at = (name: string) => join(folder, name);
  writeFileSync(at('ssh-secret'), `${passphrase}\n`, { mode: 0o600 });
  const settings = [
    ...['StrictHostKeyChecking=no', `UserKnownHostsFile=${at('ssh-hosts')}`, 'IdentitiesOnly=yes'],
    ...['IdentityAgent=none', 'NumberOfPasswordPrompts=1', `ConnectTimeout=${ENTRY_LIMIT_MS / 1_000}`],
  ].flatMap((setting) => ['-o', setting]);
  const args = ['-F', 'none', '-i', at('ssh-visitor'), ...settings, `holdfast-support@${address}`, command];
  const ask = { SSH_ASKPASS: at('ssh-ask'), SSH_ASKPASS_REQUIRE: 'force', DISPLAY: 'none' };
  return { args, env: { ...process.env, ...ask } };
}

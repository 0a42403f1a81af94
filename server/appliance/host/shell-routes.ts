/**
 * The break-glass shell at the machine's console. Guarantees: it opens only when the owner agreed to it beforehand (a setting), or
 * when whoever stands there has the recovery key of the volume; each opening and each refusal is journaled, before it happens;
 * systemd ends it after an hour.
 */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import { HoldfastError } from '../../lib/errors.ts';
import { runProcess } from '../../lib/spawn.ts';
import type { HostDeps } from './host-app.ts';
import { readNetworkSettings } from './network/trial.ts';
import { HostActor, Secret } from './schema.ts';
import { readWays } from './ways/file.ts';
import type { WaysDeps } from './ways/secret.ts';
import { testWay } from './ways/ways.ts';

const ShellRequest = Type.Object(
  {
    actor: HostActor,
    line: Type.String({ pattern: '^tty(S?[0-9]{1,2})$' }),
    /** Of the recovery kit; where the owner has agreed, none is needed. */
    recoveryKey: Type.Optional(Secret),
  },
  { additionalProperties: false },
);

interface ShellDeps extends Pick<HostDeps, 'places' | 'journal'> {
  /** Whether the volume's recovery key is this one. Slow, and one at a time. */
  isRecoveryKey(text: string): Promise<boolean>;
  open?: (line: string) => Promise<void>;
}

export const shellRoutes =
  (deps: ShellDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const open = deps.open ?? startShell;
    app.post('/shell', { schema: { body: ShellRequest } }, async ({ body }, reply) => {
      const consent = (await readNetworkSettings(deps.places)).console?.shell === true;
      const proven =
        !consent && body.recoveryKey !== undefined && (await deps.isRecoveryKey(body.recoveryKey));
      await deps.journal.append(body.actor, {
        action: consent || proven ? 'host.shell.opened' : 'host.shell.refused',
        objectType: 'machine',
        result: consent || proven ? 'done' : 'refused',
        detail: { line: body.line, by: consent ? 'consent' : proven ? 'recovery-key' : 'nothing' },
      });
      if (!consent && !proven) {
        throw new HoldfastError(
          'forbidden',
          'The owner has not agreed to a shell, and no recovery key opened it',
          {
            hint: 'The owner agrees on the page System, or whoever is here types the recovery key of the volume.',
          },
        );
      }
      await open(body.line);
      return reply.status(202).send({});
    });
  };

/** Tries a text on each recovery key that the volume has; each try is journaled. */
export function recoveryKeyProof(deps: WaysDeps): ShellDeps['isRecoveryKey'] {
  return async (text) => {
    const ways = (await readWays(deps.places))?.ways ?? [];
    for (const way of ways.filter((one) => one.kind === 'recovery-key')) {
      try {
        await testWay(deps, way.id, { actor: { kind: 'console', label: 'console' }, secret: text });
        return true;
      } catch (error) {
        if (!(error instanceof HoldfastError)) throw error;
      }
    }
    return false;
  };
}

async function startShell(line: string): Promise<void> {
  const started = await runProcess('systemctl', ['start', '--no-block', `holdfast-shell@${line}.service`], {
    timeoutMs: 20_000,
  });
  if (started.exitCode === 0) return;
  throw new HoldfastError('unavailable', 'The shell could not be started', {
    detail: started.stderr.slice(-500),
  });
}

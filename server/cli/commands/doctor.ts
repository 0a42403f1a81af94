import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import type { Command } from 'commander';
import type { HealthCheck } from '../../appliance/index.ts';
import type { Config } from '../../lib/config.ts';
import { EXIT, HoldfastError, isSystemError } from '../../lib/errors.ts';
import { SOFTWARE_VERSION } from '../../lib/version.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { isRunning } from '../control-client.ts';
import { printable } from '../output.ts';

const LEAST_NODE = 24;

export function addDoctor(program: Command): void {
  addCommand(
    program,
    'doctor',
    'Check this installation and say what to do about what is wrong',
    (command) => command,
    async (context) => {
      const checks = await collectChecks(context);
      const worst = checks.some((check) => check.state === 'bad') ? 'bad' : 'ok';
      context.output.result({ state: worst, items: checks }, checks.map(describe).join('\n'));
      return worst === 'bad' ? EXIT.error : EXIT.ok;
    },
  );
}

async function collectChecks({ config, control }: CommandContext): Promise<HealthCheck[]> {
  const checks = [checkRuntime()];
  let settings: Config;
  try {
    settings = config();
  } catch (error) {
    return [...checks, toCheck('settings', error)];
  }
  checks.push({ name: 'settings', state: 'ok', message: 'Every setting is known and valid' });
  checks.push(await checkFolder(settings.dataDir));
  try {
    if (await isRunning(settings.dataDir)) {
      const reply = await control().get<{ items: HealthCheck[] }>('/health-checks');
      return [...checks, { name: 'appliance', state: 'ok', message: 'Running' }, ...reply.items];
    }
    const hint = 'Start it with `holdfast serve`. The checks of database, keyring and targets need it.';
    return [...checks, { name: 'appliance', state: 'bad', message: 'Not running on this data folder', hint }];
  } catch (error) {
    return [...checks, toCheck('appliance', error)];
  }
}

function checkRuntime(): HealthCheck {
  const message = `Holdfast ${SOFTWARE_VERSION} on Node ${process.versions.node}`;
  if (Number(process.versions.node.split('.')[0]) >= LEAST_NODE)
    return { name: 'program', state: 'ok', message };
  return {
    name: 'program',
    state: 'bad',
    message,
    hint: 'Run it through npm or scripts/holdfast, which bring their own Node.',
  };
}

async function checkFolder(dataDir: string): Promise<HealthCheck> {
  const name = 'folder';
  try {
    if (!(await stat(dataDir)).isDirectory())
      return { name, state: 'bad', message: `${dataDir} is no folder` };
    await access(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
    return { name, state: 'ok', message: dataDir };
  } catch (error) {
    if (isSystemError(error, 'ENOENT')) {
      return {
        name,
        state: 'warn',
        message: `${dataDir} does not exist yet`,
        hint: 'The first start makes it.',
      };
    }
    return {
      name,
      state: 'bad',
      message: `${dataDir} cannot be used by this account`,
      hint: 'Run as the account that runs Holdfast.',
    };
  }
}

function toCheck(name: string, error: unknown): HealthCheck {
  const message = error instanceof Error ? error.message : String(error);
  const hint = error instanceof HoldfastError ? error.hint : undefined;
  return { name, state: 'bad', message, ...(hint === undefined ? {} : { hint }) };
}

function describe(check: HealthCheck): string {
  const mark = { ok: 'ok  ', warn: 'WARN', bad: 'BAD ' }[check.state];
  const line = `${mark}  ${check.name}: ${printable(check.message)}`;
  return check.hint === undefined ? line : `${line}\n      ${printable(check.hint)}`;
}

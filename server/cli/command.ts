/** What every command has in common: the data folder, `--json`, and how it ends. */
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { loadConfig, type Config } from '../lib/config.ts';
import { EXIT } from '../lib/errors.ts';
import { openControl, type ControlClient } from './control-client.ts';
import { createOutput, reportError, type Output } from './output.ts';

export interface CommandContext {
  output: Output;
  /** Settings, with `--data` above the environment. Read when first used. */
  config(): Config;
  /** The running appliance. */
  control(): ControlClient;
}

/** What a command returns when it ended otherwise than well: 3 for a partial result, 1 for a negative one. */
type Outcome = number | undefined;

interface CommonOptions {
  data?: string;
  json?: boolean;
}

/**
 * Adds a command. `--data` and `--json` are added to it.
 *
 * @param declare arguments and options in commander's words.
 * @param act gets the arguments in order, then the options.
 * @returns the command, for those that have commands below them.
 */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- commander's options are what each command declares
export function addCommand<Options extends object>(
  parent: Command,
  name: string,
  summary: string,
  declare: (command: Command) => Command,
  act: (context: CommandContext, options: Options, ...args: string[]) => Promise<Outcome>,
): Command {
  const command = declare(parent.command(name).summary(summary).description(summary))
    .option('--data <folder>', "the appliance's data folder (default: HOLDFAST_DATA, else ./data)")
    .option('--json', 'one JSON document on standard output');
  command.action(async (...given: unknown[]) => {
    // A command below another one shares `--json` and `--data` with it.
    const options = command.optsWithGlobals<Options & CommonOptions>();
    const args = given.slice(0, command.registeredArguments.length) as string[];
    const json = options.json === true;
    try {
      const outcome = await act(makeContext(options, json), options, ...args);
      process.exitCode = outcome ?? EXIT.ok;
    } catch (error) {
      process.exitCode = reportError(error, json);
    }
  });
  return command;
}

function makeContext(options: CommonOptions, json: boolean): CommandContext {
  let config: Config | undefined;
  const readConfig = () => {
    config ??= loadConfig();
    return options.data === undefined ? config : { ...config, dataDir: resolve(options.data) };
  };
  return {
    output: createOutput(json),
    config: readConfig,
    control: () => openControl(readConfig().dataDir),
  };
}

/** For options that may be given more than once. */
export function collect(value: string, before: string[] = []): string[] {
  return [...before, value];
}

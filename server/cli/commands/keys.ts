import type { Command } from 'commander';
import type { KeyRegister } from '../../appliance/index.ts';
import type { KeydStatus } from '../../keys/index.ts';
import { HoldfastError } from '../../lib/errors.ts';
import { addCommand, type CommandContext } from '../command.ts';
import { formatInstant, printable, table } from '../output.ts';

export function addKeys(program: Command): void {
  const keys = program
    .command('keys')
    .summary('The keyring and the recovery kits')
    .description('The keyring and the recovery kits');
  addCommand(
    keys,
    'status',
    'What the keyring holds: counts and states, never a key',
    (command) => command,
    async ({ control, output }) => {
      const status = await control().get<KeydStatus>('/console/keys');
      output.result(status, describe(status));
    },
  );
  addCommand(
    keys,
    'register',
    'Who could open the backups on a day, and who keeps which kit',
    (command) =>
      command
        .option('--on <day>', 'a day (UTC) such as 2026-05-01 (default: today)')
        .option('--csv', 'as CSV, with all that is written down of each kit'),
    async (context, { on, csv }: { on?: string; csv?: boolean }) => showRegister(context, on, csv === true),
  );
  addCommand(
    keys,
    'keep <kit>',
    'Write down who keeps a kit; what is not given stays as it is',
    (command) =>
      command
        .option('--holder <name>', 'who keeps it')
        .option('--place <place>', 'where it is kept')
        .option('--handed-over <day>', 'when they were given it')
        .option('--reference <text>', 'where the record of that lies')
        .option('--note <text>', 'anything else')
        .option('--review <day>', 'when somebody is to look after it'),
    recordKeeping,
  );
  addCommand(
    keys,
    'retire <kit>',
    'Give a kit no new keys from now on; what it opens already it goes on opening',
    (command) => command.requiredOption('--reason <text>', 'why; it is kept in the audit log'),
    async ({ control, output }, { reason }: { reason: string }, given) => {
      const kit = await findKit({ control }, given);
      await control().send('POST', `/recovery-kits/${kit.id}/retire`, { reason });
      output.result(
        { id: kit.id, state: 'retired' },
        `Retired. Kit ${kit.id} still opens what it was given: generation ${kit.generations.join(', ')} of the keys.`,
      );
    },
  );
  addCommand(
    keys,
    'rekey',
    'Begin a new generation of the keys, for the kits of now; the next snapshot stores everything again',
    (command) => command.requiredOption('--reason <text>', 'why; it is kept in the audit log'),
    async ({ control, output }, { reason }: { reason: string }) => {
      const { repository } = await control().get<KeydStatus>('/console/keys');
      const made = await control().send<{ generation: number }>('POST', '/keys/rekey', {
        ...{ follows: repository.generation, reason },
      });
      output.result(
        made,
        `Generation ${String(made.generation)} is in use. Targets are given it within a minute; the next snapshot on each is a first one. What was written before stays as it is.`,
      );
    },
  );
  addCommand(
    keys,
    'write-only <on|off>',
    'on: destroy the keys by which this appliance opens its own backups, so that only kits do; off: begin a new generation, which it opens again',
    (command) =>
      command
        .requiredOption('--reason <text>', 'why; it is kept in the audit log')
        .option('--yes', 'with on: destroy the keys; there is no way back for what is stored by then'),
    setWriteOnly,
  );
}

/** What ends, before anything is done: without `--yes` nothing is. */
const ENDS = [
  'From then on, only a recovery kit opens the backups. Without one, this appliance can no longer:',
  '  - show what is in a snapshot, or restore a single file, folder or directory from one;',
  '  - run restore tests by itself: one that is due waits for the kit, and is overdue after a week;',
  '  - read back what is inside: reading back compares the hashes of what is stored;',
  '  - take a kit into use, until it is turned off;',
  '  - skip unchanged files by the last snapshot: each is read again, and stored once all the same.',
  'Snapshots, the write-ahead log, copies, retention and pruning go on.',
  'The keys are destroyed, not put aside: turned off, only what is stored from then on opens here again.',
] as const;

async function setWriteOnly(
  { control, output }: CommandContext,
  { reason, yes }: { reason: string; yes?: boolean },
  given: string,
): Promise<undefined> {
  if (given !== 'on' && given !== 'off')
    throw new HoldfastError('invalid_input', 'It is turned on or off', {
      hint: 'holdfast keys write-only on',
    });
  const on = given === 'on';
  if (on && yes !== true)
    throw new HoldfastError('invalid_input', ENDS.join('\n'), {
      hint: 'Give --yes when that is what you want.',
    });
  const { repository } = await control().get<KeydStatus>('/console/keys');
  const now = await control().send<{ generation: number }>('POST', '/keys/write-only', {
    ...{ on, follows: repository.generation, reason },
  });
  output.result(
    { writeOnly: on, ...now },
    on
      ? 'Write-only: this appliance holds no key that opens its backups. Keep the kits safe: they are all there is.'
      : `Generation ${String(now.generation)} of the keys is in use, and this appliance opens it. What was written before opens with kits only.`,
  );
}

async function showRegister(
  { control, output }: Pick<CommandContext, 'control' | 'output'>,
  on: string | undefined,
  csv: boolean,
): Promise<undefined> {
  const query = on === undefined ? '' : `?on=${encodeURIComponent(on)}`;
  if (csv) {
    const text = await control().getText(`/keys/register/export${query}`);
    output.result({ csv: text }, text);
    return;
  }
  const register = await control().get<KeyRegister>(`/keys/register${query}`);
  output.result(register, describeRegister(register));
}

interface KeepOptions {
  holder?: string;
  place?: string;
  handedOver?: string;
  reference?: string;
  note?: string;
  review?: string;
}

async function recordKeeping(
  { control, output }: CommandContext,
  options: KeepOptions,
  given: string,
): Promise<undefined> {
  const kit = await findKit({ control }, given);
  const { items } = await control().get<{ items: NonNullable<typeof kit.keeping>[] }>(
    `/recovery-kits/${kit.id}/keepings`,
  );
  const before = items[0];
  const entry = await control().send<{ id: string }>('POST', `/recovery-kits/${kit.id}/keepings`, {
    holder: options.holder ?? before?.holder ?? '',
    place: options.place ?? before?.place ?? '',
    reference: options.reference ?? before?.reference ?? '',
    note: options.note ?? before?.note ?? '',
    handedOverOn: options.handedOver ?? before?.handedOverOn ?? null,
    reviewOn: options.review ?? before?.reviewOn ?? null,
    follows: before?.id ?? null,
  });
  output.result(entry, 'Written down');
}

/** By its id or how that begins. */
async function findKit(
  { control }: Pick<CommandContext, 'control'>,
  given: string,
): Promise<KeyRegister['kits'][number]> {
  const { kits } = await control().get<KeyRegister>('/keys/register');
  const [kit, second] = kits.filter((one) => one.id.startsWith(given.toLowerCase()));
  if (kit !== undefined && second === undefined) return kit;
  throw new HoldfastError(
    kit === undefined ? 'not_found' : 'invalid_input',
    kit === undefined ? 'There is no such recovery kit' : 'Several kits begin like this',
    { hint: 'holdfast keys register lists them.' },
  );
}

const OPENS = { everything: 'everything', part: 'a part', nothing: 'nothing' } as const;

function describeRegister({ on, kits, testIdentity, couldOpen, couldOpenRetired }: KeyRegister): string {
  const rows = kits.map((kit) => [
    kit.id.slice(0, 8),
    kit.state,
    OPENS[kit.opens],
    printable(kit.keeping?.holder ?? '-'),
    printable(kit.keeping?.place ?? '-'),
    formatInstant(kit.provenAt),
    formatInstant(kit.testedAt),
    formatInstant(kit.retiredAt),
    kit.keeping?.reviewOn ?? '-',
  ]);
  const heads = ['kit', 'state', 'opens', 'holder', 'place', 'proven', 'tested', 'retired', 'review'];
  const retired = kits.filter(({ state, opens }) => state === 'retired' && opens !== 'nothing');
  return [
    `On ${on} (UTC) ${String(couldOpen)} could open the backups${couldOpenRetired === 0 ? '.' : `, ${String(couldOpenRetired)} of them retired:`}`,
    ...retired.map(
      (kit) =>
        `  kit ${kit.id.slice(0, 8)}, in use from ${formatInstant(kit.addedAt)} to ${formatInstant(kit.retiredAt)}, still opens ${OPENS[kit.opens]}`,
    ),
    table(heads, rows),
    `Test identity on this appliance: ${testIdentity.kept ? `kept, opens ${OPENS[testIdentity.opens]}` : 'not kept (write-only)'}`,
    ...testIdentity.spans.map(
      ({ from, to, generations }) =>
        `  from ${formatInstant(from)} ${to === null ? 'on' : `to ${formatInstant(to)}`} it opened generation ${generations.join(', ')}`,
    ),
  ].join('\n');
}

function describeIdentity({
  writeOnly,
  generations,
  identitiesDestroyedAt,
}: KeydStatus['repository']): string {
  const closed = generations.filter((one) => !one.testIdentity).map((one) => one.generation);
  if (writeOnly) {
    const since = identitiesDestroyedAt === null ? '' : ` since ${formatInstant(identitiesDestroyedAt)}`;
    return `not kept here (write-only${since})`;
  }
  return closed.length === 0
    ? 'kept here'
    : `kept here; generation ${closed.join(', ')} opens with kits only`;
}

function describe(status: KeydStatus): string {
  const { repository } = status;
  const kits = repository.kits.map((kit) => `  ${kit.id}  proven ${formatInstant(kit.provenAt)}`);
  return [
    `Keys            ${status.keyCount}, revision ${status.revision}`,
    `Core dumps      ${status.coreDumpsOff ? 'off' : 'ON'}`,
    `Repository      ${repository.repositoryId ?? 'none yet'}, generation ${repository.generation}`,
    `Trust root      ${repository.trustRoot ?? '-'}`,
    `Test identity   ${describeIdentity(repository)}`,
    `Keyring epoch   ${repository.keyringEpoch}`,
    `Recovery kits   ${repository.kits.length}`,
    ...kits,
    `Retired kits    ${repository.retiredKits.length}`,
    ...status.notices.map((notice) => `! ${notice}`),
  ].join('\n');
}

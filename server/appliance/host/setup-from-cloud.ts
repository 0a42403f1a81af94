/**
 * Set-up handed over by the cloud or hypervisor: the section `holdfast` of cloud-init's merged configuration becomes a set-up file
 * in memory, and is taken out of everything that cloud-init keeps. Guarantees: nothing of it touches a disk; a section that is not
 * right is refused as a whole and said; once set-up is done, later starts do not repeat it.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { parse, stringify } from 'yaml';
import { HoldfastError, isSystemError, messageOf } from '../../lib/errors.ts';
import { readFileIfPresent, writeFileDurably } from '../../lib/files.ts';
import { eraseFile } from './erase-file.ts';
import type { HostDeps } from './host-app.ts';
import { NewPassphrase } from './schema.ts';
import { readStateFile, writeStateFile } from './state-file.ts';

const strict = { additionalProperties: false };
const AnySection = Type.Record(Type.String(), Type.Unknown());

const WithPassword = Type.Intersect([
  AnySection,
  Type.Object({ password: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })) }),
]);
const WithPassphrase = Type.Intersect([
  AnySection,
  Type.Object({ passphrase: Type.Optional(NewPassphrase) }),
]);

/** What stands beside the answers of a set-up file. Those themselves are checked by `holdfast setup` and `holdfast recover`. */
const CloudSection = Type.Object(
  {
    /** Which disk is for the data: `/dev/disk/by-id/…`. */
    dataDisk: Type.Optional(Type.String({ pattern: '^/dev/[^\\u0000]{1,200}$' })),
    /** As `PUT /network` takes it. */
    network: Type.Optional(AnySection),
    /** As `holdfast setup` takes it, with the secrets in place instead of in files. */
    setup: Type.Optional(
      Type.Intersect([
        AnySection,
        Type.Object({
          owner: Type.Intersect([
            AnySection,
            Type.Object({ password: Type.Optional(Type.String({ minLength: 1, maxLength: 512 })) }),
          ]),
          certificate: Type.Optional(
            Type.Object(
              {
                certificate: Type.String({ minLength: 64, maxLength: 65_536 }),
                key: Type.String({ minLength: 32, maxLength: 32_768 }),
              },
              strict,
            ),
          ),
          share: Type.Optional(WithPassword),
          volume: Type.Optional(WithPassphrase),
        }),
      ]),
    ),
    /** Instead of a set-up: as `holdfast recover --config` takes it, with the kit and the secrets in place. */
    recover: Type.Optional(
      Type.Intersect([
        AnySection,
        Type.Object({
          kit: Type.String({ minLength: 32, maxLength: 32_768 }),
          share: Type.Optional(WithPassword),
          volume: Type.Optional(WithPassphrase),
        }),
      ]),
    ),
  },
  strict,
);
type CloudSection = Static<typeof CloudSection>;

const SetupProblem = Type.Object({ problem: Type.String() });
const SetupDone = Type.Object({ doneAt: Type.String() });
const LIMIT_BYTES = 512 * 1024;
/** What cloud-init keeps of the user data, once as it came and once merged. */
const RAW_COPIES = ['user-data.txt', 'user-data.txt.i', 'vendor-data.txt', 'vendor-data.txt.i'];

export interface CloudSetup {
  dataDisk: string | undefined;
  network: Record<string, unknown> | undefined;
}

/** What the unlocking reads, in memory. */
const TakenFile = Type.Object({ dataDisk: Type.Optional(Type.String()) }, strict);

type CloudDeps = Pick<HostDeps, 'places' | 'clock' | 'log' | 'journal'>;

export function recoveryFilePath(places: CloudDeps['places']): string {
  return join(places.run, 'recovery.yaml');
}

export function setupFilePath(places: CloudDeps['places']): string {
  return join(places.run, 'setup.yaml');
}

function problemPath(places: CloudDeps['places']): string {
  return join(places.run, 'setup-problem.json');
}

/** Why a set-up or recovery by file did not come about, in a sentence. */
export async function readSetupProblem(places: CloudDeps['places']): Promise<string | undefined> {
  return (await readStateFile(problemPath(places), SetupProblem).catch(() => undefined))?.problem;
}

function takenPath(places: CloudDeps['places']): string {
  return join(places.run, 'cloud.json');
}

/** The data disk that the section named, if it was taken and named one. */
export async function readTakenDisk(places: CloudDeps['places']): Promise<string | undefined> {
  return (await readStateFile(takenPath(places), TakenFile).catch(() => undefined))?.dataDisk;
}

/** Takes the section over. Never throws for what stands in it: a machine with a wrong one starts, unclaimed, and says why. */
export async function takeCloudSetup(deps: CloudDeps): Promise<CloudSetup> {
  const nothing = { dataDisk: undefined, network: undefined };
  try {
    const section = await readSection(deps);
    if (section === undefined) return nothing;
    const taken = { dataDisk: section.dataDisk, network: section.network };
    await writeStateFile(
      takenPath(deps.places),
      section.dataDisk === undefined ? {} : { dataDisk: section.dataDisk },
      { step: 'host.setup-taken' },
    );
    if (section.setup !== undefined && section.recover !== undefined) {
      throw new HoldfastError('invalid_input', 'The cloud configuration says both setup and recover', {
        hint: 'A machine is set up, or it becomes one that there was: take one of them out.',
      });
    }
    if (await isSetupDone(deps)) return taken;
    if (section.setup !== undefined) await writeSetupFile(deps, section.setup);
    if (section.recover !== undefined) await writeRecoveryFile(deps, section.recover);
    return taken;
  } catch (error) {
    deps.log.error({ err: error }, 'The set-up that came with this machine was not taken');
    await writeStateFile(
      problemPath(deps.places),
      { problem: messageOf(error) },
      { step: 'host.setup-problem' },
    );
    await deps.journal.append(
      { kind: 'system', label: 'cloud-init' },
      { action: 'host.setup.refused', objectType: 'setup', result: 'refused' },
    );
    return nothing;
  } finally {
    await eraseSection(deps);
  }
}

/** Remembers that set-up by file is over, so that the next start, which gets the same section, leaves it alone. */
export async function recordSetupDone(deps: Pick<CloudDeps, 'places' | 'clock'>): Promise<void> {
  await writeStateFile(
    donePath(deps),
    { doneAt: deps.clock.now().toISOString() },
    { step: 'host.setup-done' },
  );
}

export async function isSetupDone(deps: Pick<CloudDeps, 'places'>): Promise<boolean> {
  return (await readStateFile(donePath(deps), SetupDone)) !== undefined;
}

function donePath({ places }: Pick<CloudDeps, 'places'>): string {
  return join(places.state, 'setup-done.json');
}

async function readSection({ places }: CloudDeps): Promise<CloudSection | undefined> {
  const section = await readMerged(join(places.cloudInstance, 'cloud-config.txt'));
  if (section?.holdfast === undefined) return undefined;
  if (Value.Check(CloudSection, section.holdfast)) return section.holdfast;
  const [first] = Value.Errors(CloudSection, section.holdfast);
  const where = first?.instancePath.slice(1).replaceAll('/', '.') ?? '';
  throw new HoldfastError(
    'invalid_input',
    `The section holdfast of the cloud configuration is not right: ${where} ${first?.message ?? ''}`.trim(),
    { hint: 'Compare it with the example in packer/README.md.' },
  );
}

async function readMerged(path: string): Promise<Record<string, unknown> | undefined> {
  const content = await readFileIfPresent(path);
  if (content === undefined) return undefined;
  if (content.length > LIMIT_BYTES)
    throw new HoldfastError('too_large', 'The cloud configuration is too large');
  let value: unknown;
  try {
    value = parse(content.toString('utf8'), { maxAliasCount: 0 });
  } catch (cause) {
    // The parser's own words quote the text, which may hold a password.
    throw new HoldfastError('invalid_input', 'The cloud configuration is not valid YAML', { cause });
  }
  return Value.Check(AnySection, value) ? value : undefined;
}

/** Secrets go into files of their own beside it: a set-up file names them. */
async function writeSetupFile(deps: CloudDeps, setup: NonNullable<CloudSection['setup']>): Promise<void> {
  const { password, ...owner } = setup.owner;
  const { certificate } = setup;
  const answers = {
    ...setup,
    owner: { ...owner, ...(await inFile(deps, 'passwordFile', 'setup-password', password)) },
    ...(await commonAnswers(deps, setup)),
    ...(certificate === undefined
      ? {}
      : {
          certificate: {
            ...(await inFile(deps, 'file', 'setup-certificate', certificate.certificate)),
            ...(await inFile(deps, 'keyFile', 'setup-certificate-key', certificate.key)),
          },
        }),
  };
  await writeFileDurably(setupFilePath(deps.places), stringify(answers), { step: 'host.setup-file' });
}

/** Puts the answers of a recovery where `holdfast-recovery.service` takes them from, in memory. */
export async function writeRecoveryFile(
  deps: Pick<CloudDeps, 'places'>,
  recover: NonNullable<CloudSection['recover']>,
): Promise<void> {
  const answers = {
    ...recover,
    ...(await inFile(deps, 'kit', 'recovery-kit', recover.kit)),
    ...(await commonAnswers(deps, recover)),
  };
  await writeFileDurably(recoveryFilePath(deps.places), stringify(answers), { step: 'host.recovery-file' });
}

/** Share and volume, as both files have them. */
async function commonAnswers(
  deps: Pick<CloudDeps, 'places'>,
  answers: { share?: { password?: string }; volume?: { passphrase?: string } },
): Promise<object> {
  const { password, ...share } = answers.share ?? {};
  const { passphrase, ...volume } = answers.volume ?? {};
  const sharePassword = await inFile(deps, 'passwordFile', 'setup-share-password', password);
  const volumePassphrase = await inFile(deps, 'passphraseFile', 'setup-passphrase', passphrase);
  return {
    ...(answers.share === undefined ? {} : { share: { ...share, ...sharePassword } }),
    ...(answers.volume === undefined ? {} : { volume: { ...volume, ...volumePassphrase } }),
  };
}

/** The answer that names the file in which a secret was put; nothing where there is no secret. */
async function inFile(
  { places }: Pick<CloudDeps, 'places'>,
  answer: string,
  name: string,
  secret: string | undefined,
): Promise<Record<string, string>> {
  if (secret === undefined) return {};
  const path = join(places.run, name);
  await writeFileDurably(path, `${secret}\n`, { step: 'host.setup-secret' });
  return { [answer]: path };
}

const SETUP_FILES = [
  'setup.yaml',
  'recovery.yaml',
  'recovery-kit',
  'setup-password',
  'setup-share-password',
  'setup-passphrase',
  'setup-certificate',
  'setup-certificate-key',
];

/** Removes the set-up file and its secrets from memory, and what cloud-init's last stages needed until now. */
export async function eraseSetupFile(places: CloudDeps['places']): Promise<void> {
  for (const name of SETUP_FILES) await eraseFile(join(places.run, name));
  await rm(problemPath(places), { force: true });
  // The pickled data source holds the user data as it came.
  await eraseFile(join(places.cloudInstance, 'obj.pkl'));
  await eraseFile(join(places.cloudRun, 'instance-data-sensitive.json'));
}

/** Other sections stay: cloud-init's later stages still act on them. */
async function eraseSection({ places, log }: CloudDeps): Promise<void> {
  const merged = join(places.cloudInstance, 'cloud-config.txt');
  try {
    const content = await readFileIfPresent(merged);
    if (content?.includes('holdfast') !== true) return;
    const others = withoutSection((await readMerged(merged).catch(() => undefined)) ?? {});
    await eraseFile(merged);
    await writeFileDurably(merged, `#cloud-config\n${stringify(others)}`);
    await eraseFromJson(join(places.cloudRun, 'combined-cloud-config.json'));
    for (const name of RAW_COPIES) await eraseFile(join(places.cloudInstance, name));
    await eraseFile(join(places.cloudRun, 'instance-data-sensitive.json'));
  } catch (error) {
    if (!isSystemError(error, 'EROFS', 'EACCES')) throw error;
    log.error({ err: error }, 'The set-up section could not be taken out of what cloud-init keeps');
  }
}

async function eraseFromJson(path: string): Promise<void> {
  const content = await readFileIfPresent(path);
  if (content === undefined) return;
  let others: Record<string, unknown> = {};
  try {
    others = withoutSection(JSON.parse(content.toString('utf8')) as Record<string, unknown>);
  } catch {
    // Half written: then nothing of it is kept.
  }
  await eraseFile(path);
  await writeFileDurably(path, JSON.stringify(others));
}

function withoutSection(config: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(config).filter(([name]) => name !== 'holdfast'));
}

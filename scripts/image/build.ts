/**
 * `scripts/build-image`: Debian 13 and this tree become one machine image, its update bundle, its bill of materials and their
 * signatures. Every result lies in one folder; everything else stays in the work folder.
 */
import {
  cpSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { loadavg } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { packApplication } from './application.ts';
import { makeBase } from './base.ts';
import { makeBundle } from './bundle.ts';
import { BuildError, capture, logTo, run, step, stepSeconds } from './command.ts';
import { convertDisk, FORMATS, sha256, writeHashes, type Format } from './convert.ts';
import { assembleDisk } from './disk.ts';
import { describeHardening, measureHardening } from './hardening.ts';
import { checkHardeningNeeds, checkNeeds } from './needs.ts';
import {
  makeBaseDisk,
  packUpload,
  provision,
  provisionInChroot,
  refuseLeftovers,
  unpackBase,
  withRoot,
  type MachineOptions,
} from './packer.ts';
import { copyLists, makeRootImage } from './root.ts';
import { writeSbom } from './sbom.ts';
import { openSigningKeys, signFile } from './signing.ts';

const HELP = `Usage: scripts/build-image [options]

Builds the Holdfast machine image with Packer and QEMU. Runs as root on Debian 12 or 13; needs 12 GiB of disk and a way to
Debian's and npm's package servers.

  --formats LIST              of ${FORMATS.join(', ')}; default qcow2,raw
  --out FOLDER                results; default .cache/image/out
  --work FOLDER               scratch, kept between builds; default .cache/image
  --version VERSION           instead of package.json's
  --signing-key FILE          private key (PEM); with --signing-certificate and --keyring. Without: a TEST authority is made
  --signing-certificate FILE  certificate of that key
  --keyring FILE              authority that machines built from now on trust
  --mirror URL                Debian packages from here, such as a snapshot of one day
  --accelerator NAME          tcg (default, works everywhere) or kvm
  --debug-console             the journal goes to the serial line too, and a root shell is on the second one: for finding
                              faults, never for real data
  --without-packer            run the provisioning scripts in a chroot: for trying things, not for a release
  --install-needs             install missing Debian packages first
`;

const KERNEL_ARGUMENTS =
  'ro systemd.gpt_auto=0 transparent_hugepage=madvise console=tty0 console=ttyS0,115200 panic=10';

const DEBUG_ARGUMENTS = ' systemd.journald.forward_to_console=1 systemd.debug_shell=ttyS1';

const project = resolve(import.meta.dirname, '..', '..');

const options = readOptions();

/** What is no option ends with the list of those that are. */
function readOptions() {
  try {
    return parseArgs({
      options: {
        formats: { type: 'string', default: 'qcow2,raw' },
        out: { type: 'string' },
        work: { type: 'string', default: join(project, '.cache', 'image') },
        version: { type: 'string' },
        'signing-key': { type: 'string' },
        'signing-certificate': { type: 'string' },
        keyring: { type: 'string' },
        mirror: { type: 'string' },
        accelerator: { type: 'string', default: 'tcg' },
        'debug-console': { type: 'boolean', default: false },
        'without-packer': { type: 'boolean', default: false },
        'install-needs': { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n\n${HELP}`);
    process.exit(2);
  }
}

if (options.help) {
  process.stdout.write(HELP);
} else {
  await build().catch((error: unknown) => {
    process.stderr.write(
      error instanceof BuildError ? `\n${error.message}\n` : `\n${String((error as Error).stack)}\n`,
    );
    process.exitCode = 1;
  });
}

async function build(): Promise<void> {
  const startedAt = performance.now();
  const formats = readFormats(options.formats);
  const work = resolve(options.work);
  const out = resolve(options.out ?? join(work, 'out'));
  mkdirSync(work, { recursive: true });
  logTo(join(work, 'build.log'));
  await checkNeeds(options['install-needs']);
  const missing = await checkHardeningNeeds(options['install-needs']);
  if (missing !== undefined) process.stdout.write(`OpenSCAP will not be measured: ${missing}.\n`);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });

  const commit = (await capture('git', ['-C', project, 'rev-parse', 'HEAD'])).trim();
  const epoch = Number((await capture('git', ['-C', project, 'log', '-1', '--format=%ct'])).trim());
  const manifest = JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as { version: string };
  const version = options.version ?? manifest.version;
  const debug = options['debug-console'];
  const machine = { project, work, version, epoch, debug, accelerator: options.accelerator };
  const keys = await openSigningKeys(
    { key: options['signing-key'], certificate: options['signing-certificate'], keyring: options.keyring },
    work,
  );
  if (keys.test) warnOfTestKeys();

  await step('Web interface', () =>
    run(process.execPath, [join(project, 'scripts/build-web.ts'), '--if-stale'], { cwd: project }),
  );
  const application = await step('Application from the lock file', () =>
    packApplication(project, work, epoch),
  );
  const base = await step('Debian 13 base', () => makeBase({ project, work, epoch, mirror: options.mirror }));
  const system = await step('Base disk', async () => {
    const unpacked = await unpackBase(base, work);
    await makeBaseDisk(unpacked, machine, !options['without-packer']);
    await packUpload(machine, application.archive, keys.keyring, {
      product: 'holdfast',
      version,
      builtAt: new Date(epoch * 1000).toISOString(),
      gitCommit: commit,
    });
    return unpacked;
  });
  const takeRoot = async (mounted: string) => {
    await refuseLeftovers(mounted);
    copyLists(mounted, out);
    const measure = { project, work, out, mirror: options.mirror, missing };
    const hardening = await step('Hardening scores', () => measureHardening(mounted, measure));
    const image = await step('Root slot', () => makeRootImage(mounted, work, version, epoch));
    return { ...image, hardening };
  };
  const root = await provisionRoot(machine, system, takeRoot);

  const name = `holdfast-${version}`;
  const raw = join(work, `${name}.raw`);
  await step('System disk', () =>
    assembleDisk({
      ...machine,
      system,
      rootA: root.path,
      verity: root.verity,
      kernelArguments: `${KERNEL_ARGUMENTS}${debug ? DEBUG_ARGUMENTS : ''}`,
      menuSeconds: 2,
      output: raw,
    }),
  );
  await step('Update bundle', () =>
    makeBundle(root, { version, commit, epoch }, keys, { project, work, output: join(out, `${name}.raucb`) }),
  );
  for (const format of formats) {
    await step(`Disk as ${format}`, () => convertDisk(raw, format, join(out, name)));
  }
  const diskSha256 = await sha256(raw);
  renameSync(`${join(out, name)}.raucb.manifest`, join(work, 'manifest.raucm'));
  const components = writeSbom(
    {
      version,
      commit,
      epoch,
      packagesFile: join(out, 'packages.tsv'),
      npm: application.packages,
      rootHash: root.verity.rootHash,
    },
    join(out, `${name}.cdx.json`),
  );
  await step('Known vulnerabilities', () => reportVulnerabilities(work, join(out, 'vulnerabilities.json')));
  cpSync(keys.keyring, join(out, 'keyring.pem'));
  await step('Signatures', async () => {
    await writeHashes(out, readdirSync(out), 'SHA256SUMS');
    for (const file of ['SHA256SUMS', `${name}.cdx.json`]) await signFile(join(out, file), keys);
  });
  rmSync(raw, { force: true });
  const report = {
    product: 'holdfast',
    version,
    commit,
    builtAt: new Date(epoch * 1000).toISOString(),
    testKeys: keys.test,
    provisionedBy: options['without-packer'] ? 'chroot' : 'packer',
    rootHash: root.verity.rootHash,
    rootContentBytes: root.contentBytes,
    rootImageBytes: statSync(root.path).size,
    rawDiskSha256: diskSha256,
    components,
    hardening: root.hardening,
    sizes: Object.fromEntries(readdirSync(out).map((file) => [file, statSync(join(out, file)).size])),
    seconds: { ...stepSeconds, whole: Math.round((performance.now() - startedAt) / 1000) },
    loadAverage: loadavg(),
  };
  rmSync(root.path, { force: true });
  writeFileSync(join(out, 'build-report.json'), `${JSON.stringify(report, null, 2)}\n`);
  process.stdout.write(`\n${name} in ${report.seconds.whole} s: ${out}\n`);
  for (const [file, bytes] of Object.entries(report.sizes))
    process.stdout.write(`  ${(bytes / 1024 ** 2).toFixed(1).padStart(8)} MiB  ${file}\n`);
  process.stdout.write(`\n${describeHardening(root.hardening)}\n`);
  if (keys.test) warnOfTestKeys();
}

async function provisionRoot<Result>(
  machine: MachineOptions,
  system: string,
  act: (root: string) => Promise<Result>,
): Promise<Result> {
  if (options['without-packer']) {
    const tree = await step('Provisioning in a chroot', () => provisionInChroot(system, machine));
    const result = await act(tree);
    rmSync(tree, { recursive: true });
    return result;
  }
  const disk = await step('Packer: provisioning in QEMU', () => provision(machine));
  const result = await withRoot(disk, machine.work, act);
  rmSync(disk);
  return result;
}

function readFormats(list: string): Format[] {
  return list.split(',').map((name) => {
    const format = FORMATS.find((known) => known === name.trim());
    if (format === undefined) throw new BuildError(`${name} is no format. There are: ${FORMATS.join(', ')}.`);
    return format;
  });
}

/** npm's registry knows of advisories; Debian's tracker has no copy that can be read offline, so its part is the package list. */
async function reportVulnerabilities(work: string, output: string): Promise<void> {
  const text = await capture('npm', ['audit', '--omit=dev', '--json'], {
    cwd: join(work, 'application'),
    allow: [0, 1],
  });
  const audit = parseAudit(text);
  writeFileSync(
    output,
    `${JSON.stringify(
      {
        npm: audit,
        debian:
          'Not looked up here: compare packages.tsv, or the CycloneDX file, with the Debian security tracker, for example by ' +
          '`debsecan`, `trivy sbom` or `grype sbom:`. The base was installed with trixie-security switched on.',
      },
      null,
      2,
    )}\n`,
  );
}

function parseAudit(text: string): unknown {
  try {
    const parsed = JSON.parse(text) as {
      error?: unknown;
      vulnerabilities?: unknown;
      metadata?: unknown;
      message?: unknown;
    };
    if (parsed.error !== undefined || parsed.vulnerabilities === undefined) {
      return { answered: false, said: parsed.error ?? parsed.message ?? 'nothing' };
    }
    return { answered: true, vulnerabilities: parsed.vulnerabilities, metadata: parsed.metadata };
  } catch {
    return { answered: false, said: text.slice(0, 500) };
  }
}

function warnOfTestKeys(): void {
  process.stdout.write(
    [
      '',
      '*** SIGNED WITH A TEST AUTHORITY MADE BY THIS BUILD. ***',
      '*** Whoever has the work folder can sign updates for this image: do not run it with real data.',
      '*** Give --signing-key, --signing-certificate and --keyring for a real one.',
      '',
      '',
    ].join('\n'),
  );
}

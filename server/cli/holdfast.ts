/** The `holdfast` command. Usage errors end with 2; everything else as each command says (README.md). */
import { Command, CommanderError } from 'commander';
import { useCompileCache } from '../lib/compile-cache.ts';
import { EXIT } from '../lib/errors.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';

type Add = (program: Command) => void;

/** In the order of the help. A command's own code is loaded only when it is called. */
const COMMANDS: Record<string, () => Promise<Add>> = {
  serve: async () => (await import('./commands/serve.ts')).addServe,
  setup: async () => (await import('./commands/setup.ts')).addSetup,
  status: async () => (await import('./commands/status.ts')).addStatus,
  doctor: async () => (await import('./commands/doctor.ts')).addDoctor,
  'claim-code': async () => (await import('./commands/claim-code.ts')).addClaimCode,
  'recover-owner': async () => (await import('./commands/recover-owner.ts')).addRecoverOwner,
  import: async () => (await import('./commands/import-export.ts')).addImport,
  export: async () => (await import('./commands/import-export.ts')).addExport,
  snapshot: async () => (await import('./commands/snapshot.ts')).addSnapshot,
  snapshots: async () => (await import('./commands/snapshots.ts')).addSnapshots,
  restore: async () => (await import('./commands/restore.ts')).addRestore,
  recover: async () => (await import('./commands/recover.ts')).addRecover,
  'point-in-time': async () => (await import('./commands/point-in-time.ts')).addPointInTime,
  'restore-test': async () => (await import('./commands/restore-test.ts')).addRestoreTest,
  verify: async () => (await import('./commands/verify.ts')).addVerify,
  forget: async () => (await import('./commands/forget.ts')).addForget,
  prune: async () => (await import('./commands/prune.ts')).addPrune,
  audit: async () => (await import('./commands/audit.ts')).addAudit,
  'verify-report': async () => (await import('./commands/verify-report.ts')).addVerifyReport,
  keys: async () => (await import('./commands/keys.ts')).addKeys,
  hardening: async () => (await import('./commands/hardening.ts')).addHardening,
  targets: async () => (await import('./commands/targets.ts')).addTargets,
  quarantine: async () => (await import('./commands/quarantine.ts')).addQuarantine,
  'set-back': async () => (await import('./commands/set-back.ts')).addSetBack,
  update: async () => (await import('./commands/update.ts')).addUpdate,
  unlock: async () => (await import('./commands/unlock.ts')).addUnlock,
  alerts: async () => (await import('./commands/alerts.ts')).addAlerts,
  mail: async () => (await import('./commands/mail.ts')).addMail,
  passwords: async () => (await import('./commands/passwords.ts')).addPasswords,
  users: async () => (await import('./commands/users.ts')).addUsers,
};

useCompileCache();
const program = new Command('holdfast')
  .description('A private data appliance that proves by real restores that its backups work')
  .version(SOFTWARE_VERSION)
  .showHelpAfterError('Run `holdfast --help` for the commands.');

const called = COMMANDS[process.argv[2] ?? ''];
const loaders = called === undefined ? Object.values(COMMANDS) : [called];
for (const load of loaders) (await load())(program);
endWithOwnCodes(program);

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) throw error;
  process.exitCode = error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (process.exitCode !== EXIT.ok && process.argv.includes('--json')) {
    const message = error.message.replace(/^error: /, '');
    process.stdout.write(`${JSON.stringify({ error: { code: 'invalid_input', message } })}\n`);
  }
}

/** Commander would end the process with 1 for a usage error. */
function endWithOwnCodes(command: Command): void {
  command.exitOverride();
  for (const child of command.commands) endWithOwnCodes(child);
}

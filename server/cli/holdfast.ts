/** The `holdfast` command. Usage errors end with 2; everything else as each command says (README.md). */
import { Command, CommanderError } from 'commander';
import { EXIT } from '../lib/errors.ts';
import { SOFTWARE_VERSION } from '../lib/version.ts';
import { addAudit } from './commands/audit.ts';
import { addClaimCode } from './commands/claim-code.ts';
import { addDoctor } from './commands/doctor.ts';
import { addExport, addImport } from './commands/import-export.ts';
import { addForget } from './commands/forget.ts';
import { addPrune } from './commands/prune.ts';
import { addRecover } from './commands/recover.ts';
import { addRestore } from './commands/restore.ts';
import { addRestoreTest } from './commands/restore-test.ts';
import { addSetup } from './commands/setup.ts';
import { addVerify } from './commands/verify.ts';
import { addVerifyReport } from './commands/verify-report.ts';
import { addKeys } from './commands/keys.ts';
import { addRecoverOwner } from './commands/recover-owner.ts';
import { addServe } from './commands/serve.ts';
import { addSnapshot } from './commands/snapshot.ts';
import { addSnapshots } from './commands/snapshots.ts';
import { addStatus } from './commands/status.ts';
import { addUsers } from './commands/users.ts';

const program = new Command('holdfast')
  .description('A private data appliance that proves by real restores that its backups work')
  .version(SOFTWARE_VERSION)
  .showHelpAfterError('Run `holdfast --help` for the commands.')
  .configureHelp({ showGlobalOptions: true });

for (const add of [
  addServe,
  addSetup,
  addStatus,
  addDoctor,
  addClaimCode,
  addRecoverOwner,
  addImport,
  addExport,
  addSnapshot,
  addSnapshots,
  addRestore,
  addRecover,
  addRestoreTest,
  addVerify,
  addForget,
  addPrune,
  addAudit,
  addVerifyReport,
  addKeys,
  addUsers,
]) {
  add(program);
}
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

/** Import and export, behind the control socket only: they read and write paths of the appliance itself. */
import { PassThrough } from 'node:stream';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { HoldfastError } from '../lib/errors.ts';
import type { WorkspaceDeps } from './deps.ts';
import { exportDirectory } from './export.ts';
import { importDirectory } from './import.ts';
import { listWorkspaceRoots } from './queries.ts';
import { ExportDirectoryRequest, ImportDirectoryRequest } from './schema.ts';
import type { SkippedItem, TransferProgress, TransferReport, TransferWatch } from './transfer-report.ts';

const PROGRESS_EVERY_MS = 250;
const config = { access: 'console' } as const;
const tags = ['console'];
const DESCRIPTION =
  'Answers with JSON lines: `{"progress":{…}}` now and then, `{"skipped":{path,reason}}` for each item that was not taken, and at the end `{"report":{…}}` or `{"error":{code,message,hint?}}`. Closing the connection stops it.';

export function workspaceConsoleRoutes(deps: WorkspaceDeps): FastifyPluginAsyncTypebox {
  return async (app) => {
    app.post(
      '/console/import',
      {
        config,
        schema: {
          tags,
          summary: 'Take a directory of the appliance in',
          description: DESCRIPTION,
          body: ImportDirectoryRequest,
        },
      },
      async (request, reply) => {
        const { sourceDir } = request.body;
        const folderId = request.body.folderId ?? (await onlyRootFolder(deps));
        return streamTransfer(deps, request, reply, (watch) =>
          importDirectory(deps, { ...watch, sourceDir, folderId, actor: request.actor }),
        );
      },
    );
    app.post(
      '/console/export',
      {
        config,
        schema: {
          tags,
          summary: 'Write a folder out into a directory of the appliance',
          description: DESCRIPTION,
          body: ExportDirectoryRequest,
        },
      },
      async (request, reply) => {
        const { targetDir } = request.body;
        const folderId = request.body.folderId ?? (await onlyRootFolder(deps));
        return streamTransfer(deps, request, reply, (watch) =>
          exportDirectory(deps, { ...watch, targetDir, folderId, actor: request.actor }),
        );
      },
    );
  };
}

/** Runs a transfer while its lines go out; the connection's end is its cancel. */
function streamTransfer(
  deps: WorkspaceDeps,
  request: FastifyRequest,
  reply: FastifyReply,
  start: (watch: TransferWatch) => Promise<TransferReport>,
): PassThrough {
  const lines = new PassThrough();
  const gone = new AbortController();
  lines.once('close', () => gone.abort());
  const say = (line: Record<string, unknown>) => void lines.write(`${JSON.stringify(line)}\n`);
  let saidAtMs = -PROGRESS_EVERY_MS;
  const watch: TransferWatch = {
    signal: gone.signal,
    onProgress: (progress: TransferProgress) => {
      const nowMs = deps.clock.monotonicMs();
      if (nowMs - saidAtMs < PROGRESS_EVERY_MS) return;
      saidAtMs = nowMs;
      say({ progress });
    },
    onSkipped: (skipped: SkippedItem) => say({ skipped }),
  };
  void start(watch)
    .then(
      (report) => say({ report }),
      (error: unknown) => say({ error: describeError(error, request) }),
    )
    .finally(() => lines.end());
  reply.type('application/x-ndjson').header('cache-control', 'no-store');
  return lines;
}

function describeError(error: unknown, request: FastifyRequest) {
  if (error instanceof HoldfastError) {
    request.log.info({ code: error.code, detail: error.detail }, error.message);
    return { code: error.code, message: error.message, hint: error.hint, requestId: request.id };
  }
  request.log.error({ err: error }, 'A transfer failed');
  return {
    code: 'internal',
    message: 'Something went wrong inside the appliance',
    hint: 'Look in the log for the request id.',
    requestId: request.id,
  };
}

/** @throws invalid_input when there are several */
async function onlyRootFolder(deps: WorkspaceDeps): Promise<string> {
  const roots = await listWorkspaceRoots(deps.db);
  const [only] = roots;
  if (only === undefined) {
    throw new HoldfastError('wrong_state', 'There is no workspace yet', {
      hint: 'Claim the appliance first.',
    });
  }
  if (roots.length === 1) return only.root_folder_id;
  throw new HoldfastError('invalid_input', 'There are several workspaces: say which folder', {
    hint: 'Give the id of a folder, as the address of its page shows it.',
  });
}

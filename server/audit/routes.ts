import { Readable } from 'node:stream';
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Type } from 'typebox';
import type { Clock } from '../lib/clock.ts';
import { writeTransaction, type Database } from '../lib/db.ts';
import type { Logger } from '../lib/log.ts';
import { messageOf } from '../lib/errors.ts';
import { Run } from '../lib/run-schema.ts';
import { AskedApproval, Bytes, Id, NoContent } from '../lib/shapes.ts';
import { makeCheckpoint, type CheckpointSigner } from './checkpoints.ts';
import { makeEntryProof } from './entry-proof.ts';
import { exportLog } from './export-log.ts';
import { exportSelection } from './export-selection.ts';
import { readLogState, requestVerification } from './log-state.ts';
import { recordAudit } from './record-audit.ts';
import { changeRetention, readRetention, type AskForRetention } from './retention.ts';
import {
  AuditActions,
  AuditFilter,
  AuditPage,
  AuditQuery,
  ExportQuery,
  LogState,
  Retention,
  RetentionChange,
  SavedFilter,
  SavedFilters,
  SaveFilter,
  type TargetAnchorState,
} from './schema.ts';
import { deleteFilter, listAudit, listAuditActions, listSavedFilters, saveFilter } from './service.ts';

export interface AuditDeps {
  db: Database;
  clock: Clock;
  log: Logger;
  keys: CheckpointSigner;
  listAnchors(): Promise<TargetAnchorState[]>;
  askForRetention: AskForRetention;
}

const tags = ['audit'];
const ById = Type.Object({ id: Id });
const config = { access: { right: 'audit.read' } } as const;

export const auditRoutes =
  (deps: AuditDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    app.get(
      '/audit',
      {
        config,
        schema: {
          ...{ tags, summary: 'The audit log, newest first' },
          querystring: AuditQuery,
          response: { 200: AuditPage },
        },
      },
      (request) => listAudit(deps, request.query),
    );

    app.get(
      '/audit/actions',
      {
        config,
        schema: { tags, summary: 'Every action that was ever written', response: { 200: AuditActions } },
      },
      () => listAuditActions(deps),
    );

    app.get(
      '/audit/log',
      {
        config,
        schema: {
          tags,
          summary: 'How the log is signed, anchored and verified',
          response: { 200: LogState },
        },
      },
      () => readLogState(deps),
    );

    app.get(
      '/audit/export',
      {
        config,
        schema: {
          ...{ tags, summary: 'The log as JSON lines that `holdfast audit verify` checks offline' },
          querystring: ExportQuery,
          response: { 200: Bytes },
        },
      },
      (request, reply) => sendExport(deps, request.query.since, request, reply),
    );

    app.get(
      '/audit/selection',
      {
        config,
        schema: {
          ...{ tags, summary: 'Entries that fit a filter, each with its proof, for `holdfast audit verify`' },
          querystring: AuditFilter,
          response: { 200: Bytes },
        },
      },
      (request, reply) => sendSelection(deps, request.query, request, reply),
    );

    app.get(
      '/audit/entries/:id/proof',
      {
        config,
        schema: {
          ...{ tags, summary: 'The proof that an entry is in the log (C2SP tlog-proof)' },
          params: ById,
          response: { 200: Bytes },
        },
      },
      async (request, reply) => {
        const proof = await makeEntryProof(deps, request.params.id);
        return reply
          .type('text/plain; charset=utf-8')
          .header('content-disposition', `attachment; filename="audit-${request.params.id}.tlog-proof"`)
          .send(Buffer.from(proof));
      },
    );

    app.get(
      '/audit/retention',
      {
        config,
        schema: { tags, summary: 'How long entries are kept, and why', response: { 200: Retention } },
      },
      () => readRetention(deps),
    );

    app.put(
      '/audit/retention',
      {
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          ...{ tags, summary: 'Change how long entries are kept; a shorter time needs approval' },
          body: RetentionChange,
          response: { 200: Retention, 202: AskedApproval },
        },
      },
      async ({ actor, body }, reply) => {
        const answer = await changeRetention(deps, actor, body);
        return 'approval' in answer ? reply.status(202).send(answer) : answer;
      },
    );

    app.post(
      '/audit/verifications',
      { config, schema: { tags, summary: 'Verify the log now', response: { 202: Run } } },
      async (request, reply) => reply.status(202).send(await requestVerification(deps, request.actor)),
    );

    app.get(
      '/audit/filters',
      { config, schema: { tags, summary: 'Filters that you keep', response: { 200: SavedFilters } } },
      (request) => listSavedFilters(deps, request.actor),
    );

    app.post(
      '/audit/filters',
      {
        config,
        schema: { tags, summary: 'Keep a filter', body: SaveFilter, response: { 201: SavedFilter } },
      },
      async (request, reply) => reply.status(201).send(await saveFilter(deps, request.actor, request.body)),
    );

    app.delete(
      '/audit/filters/:id',
      { config, schema: { tags, summary: 'Drop a filter', params: ById, response: { 204: NoContent } } },
      async (request, reply) => {
        await deleteFilter(deps, request.actor, request.params.id);
        return reply.status(204).send(null);
      },
    );
  };

async function sendExport(
  deps: AuditDeps,
  since: string | undefined,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  await recordExport(deps, request, { since: since ?? null });
  // A log that gets no checkpoint is exported all the same: the export is the evidence.
  await makeCheckpoint(deps).catch((error: unknown) =>
    deps.log.warn(`No new checkpoint: ${messageOf(error)}`),
  );
  const lines = exportLog(deps, { since: since === undefined ? undefined : new Date(since) });
  await sendLines(deps, reply, { name: 'audit', lines });
}

async function sendSelection(
  deps: AuditDeps,
  filter: AuditFilter,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<void> {
  await recordExport(deps, request, { filter });
  await sendLines(deps, reply, { name: 'audit-selection', lines: await exportSelection(deps, filter) });
}

async function recordExport(
  deps: AuditDeps,
  { actor }: FastifyRequest,
  detail: Record<string, unknown>,
): Promise<void> {
  await writeTransaction(deps.db, (tx) =>
    recordAudit(tx, deps.clock, actor, { action: 'audit.log.exported', objectType: 'log', detail }),
  );
}

async function sendLines(
  { clock }: AuditDeps,
  reply: FastifyReply,
  { name, lines }: { name: string; lines: AsyncIterable<string> },
): Promise<void> {
  const day = clock.now().toISOString().slice(0, 10);
  // Waited for: a handler that ends before its stream has begun would answer with nothing.
  await reply
    .type('application/x-ndjson')
    .header('content-disposition', `attachment; filename="holdfast-${name}-${day}.jsonl"`)
    .header('cache-control', 'no-store')
    .send(Readable.from(inBlocks(lines), { objectMode: false }));
}

const BLOCK_CHARACTERS = 64 * 1024;

/** A stream of single lines costs more for the lines than for what is in them. */
async function* inBlocks(lines: AsyncIterable<string>): AsyncGenerator<Buffer> {
  let block = '';
  for await (const line of lines) {
    block += `${line}\n`;
    if (block.length < BLOCK_CHARACTERS) continue;
    yield Buffer.from(block);
    block = '';
  }
  if (block !== '') yield Buffer.from(block);
}

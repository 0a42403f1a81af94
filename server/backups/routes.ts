import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Actor } from '../audit/index.ts';
import { requireFreshProof, type Person } from '../identity/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { Run } from '../lib/run-schema.ts';
import { AskedApproval, Id } from '../lib/shapes.ts';
import { browseSnapshot, requestRestore, type BrowseDeps } from './browse-snapshot.ts';
import { copyRoutes } from './copy-routes.ts';
import { requestForget } from './request-forget.ts';
import { retentionRoutes, type RetentionRouteDeps } from './retention-routes.ts';
import { unusualRoutes } from './unusual/routes.ts';
import { requestSnapshot, type SnapshotConsent, showSnapshot, showSnapshots } from './list-snapshots.ts';
import { addTarget, probeAgain, retireTarget, tryTarget } from './manage-targets.ts';
import { showTargets, toTargetReply } from './show-targets.ts';
import { getTarget, type TargetRow } from './queries.ts';
import { changeLock } from './lock-days.ts';
import { changeS3SignIn } from './s3-targets.ts';
import { acceptHostKey, changeSignIn, makeTargetKey } from './target-sign-ins.ts';
import { listEarlierStates, listOwnRestores } from './own-restores.ts';
import { runRoutes, type RunRouteDeps } from './run-routes.ts';
import {
  EarlierStatePage,
  EarlierStateQuery,
  HostKeyChange,
  LockChange,
  MadeKey,
  OwnRestore,
  RestoreRequest,
  SignInChange,
  Snapshot,
  SnapshotFolder,
  SnapshotFolderQuery,
  SnapshotConsentQuery,
  SnapshotPage,
  SnapshotQuery,
  TargetProbe,
  TargetReply,
  TargetRequest,
} from './schema.ts';
import { verificationReportRoutes } from './verification-reports/routes.ts';
import { pointInTimeRoutes, type PointInTimeRouteDeps } from './wal/routes.ts';

export type BackupDeps = RunRouteDeps & BrowseDeps & RetentionRouteDeps & PointInTimeRouteDeps;

const TargetParams = Type.Object({ id: Id });
const SnapshotParams = Type.Object({ id: Type.String({ pattern: '^[0-9a-f]{64}$' }) });

/** The console and owners may say that a repository is theirs to go on with; others may not. */
async function requireOwnersConsent(
  deps: BackupDeps,
  consent: SnapshotConsent,
  person: Person | undefined,
): Promise<void> {
  if (consent.acceptWarnings !== true && consent.takeOver !== true) return;
  if (person === undefined) return;
  // Never by a key: a program that is asked every night would consent every night.
  if (person.role === 'owner' && person.apiKey === undefined) return requireFreshProof(deps, person);
  throw new HoldfastError(
    'forbidden',
    'Only an owner may go on with a repository that is not as it should be',
  );
}

function changeAnySignIn(
  deps: BackupDeps,
  actor: Actor,
  id: string,
  signIn: SignInChange['signIn'],
): Promise<TargetRow> {
  const ofS3 = signIn.kind === 'access-key' || signIn.kind === 'role';
  return ofS3 ? changeS3SignIn(deps, actor, id, signIn) : changeSignIn(deps, actor, id, signIn);
}

export function backupRoutes(deps: BackupDeps): FastifyPluginAsyncTypebox {
  return async (app) => {
    await app.register(targetRoutes(deps));
    await app.register(snapshotRoutes(deps));
    await app.register(retentionRoutes(deps));
    await app.register(unusualRoutes(deps));
    await app.register(copyRoutes(deps));
    await app.register(pointInTimeRoutes(deps));
    await app.register(verificationReportRoutes(deps));
    await app.register(runRoutes(deps));
  };
}

function targetRoutes(deps: BackupDeps): FastifyPluginAsyncTypebox {
  const tags = ['Targets'];
  return async (app) => {
    app.get(
      '/targets',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          tags,
          summary: 'Where snapshots are sent',
          response: { 200: Type.Object({ items: Type.Array(TargetReply) }) },
        },
      },
      async () => ({ items: await showTargets(deps) }),
    );
    app.post(
      '/targets/probe',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: { tags, summary: 'Try a place out', body: TargetRequest, response: { 200: TargetProbe } },
      },
      ({ body, actor }) => tryTarget(deps, actor, body),
    );
    app.post(
      '/targets',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: { tags, summary: 'Add a target', body: TargetRequest, response: { 201: TargetReply } },
      },
      async ({ body, actor }, reply) => reply.status(201).send(await addTarget(deps, actor, body)),
    );
    app.get(
      '/targets/:id',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'One target', params: TargetParams, response: { 200: TargetReply } },
      },
      async ({ params }) => toTargetReply(deps, await getTarget(deps.db, params.id)),
    );
    app.post(
      '/targets/:id/probe',
      {
        config: { access: { right: 'backups.manage' } },
        schema: { tags, summary: 'Try a target again', params: TargetParams, response: { 200: TargetProbe } },
      },
      ({ params, actor }) => probeAgain(deps, actor, params.id),
    );
    app.post(
      '/targets/keys',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Make a key to sign in to an SFTP target with; only its public half is shown',
          response: { 201: MadeKey },
        },
      },
      async ({ actor }, reply) => reply.status(201).send(await makeTargetKey(deps, actor)),
    );
    app.put(
      '/targets/:id/sign-in',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Give an SFTP or S3 target another password or key',
          params: TargetParams,
          body: SignInChange,
          response: { 200: TargetReply },
        },
      },
      async ({ params, body, actor }) =>
        toTargetReply(deps, await changeAnySignIn(deps, actor, params.id, body.signIn)),
    );
    app.put(
      '/targets/:id/host-key',
      {
        config: { access: { right: 'recovery.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Accept another host key of an SFTP target, after comparing it',
          params: TargetParams,
          body: HostKeyChange,
          response: { 200: TargetReply },
        },
      },
      async ({ params, body, actor }) =>
        toTargetReply(deps, await acceptHostKey(deps, actor, params.id, body.fingerprint)),
    );
    app.put(
      '/targets/:id/lock',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Lock what a target holds for so many days, or as long as its policy promises to keep it',
          params: TargetParams,
          body: LockChange,
          response: { 200: TargetReply },
        },
      },
      async ({ params, body, actor }) => toTargetReply(deps, await changeLock(deps, actor, params.id, body)),
    );
    app.post(
      '/targets/:id/retire',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Stop sending to a target',
          params: TargetParams,
          response: { 200: TargetReply },
        },
      },
      ({ params, actor }) => retireTarget(deps, actor, params.id),
    );
  };
}

function snapshotRoutes(deps: BackupDeps): FastifyPluginAsyncTypebox {
  const tags = ['Snapshots'];
  return async (app) => {
    app.get(
      '/snapshots',
      {
        config: { access: { right: 'operations.read' } },
        schema: {
          tags,
          summary: 'Snapshots',
          querystring: SnapshotQuery,
          response: { 200: SnapshotPage },
        },
      },
      ({ query }) => showSnapshots(deps, query),
    );
    app.post(
      '/snapshots',
      {
        config: { access: { right: 'backups.run' } },
        schema: {
          tags,
          summary: 'Take a snapshot now',
          querystring: SnapshotConsentQuery,
          response: { 202: Run },
        },
      },
      async ({ actor, query, signedIn }, reply) => {
        await requireOwnersConsent(deps, query, signedIn);
        return reply.status(202).send(await requestSnapshot(deps, actor, query));
      },
    );
    app.get(
      '/snapshots/:id',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'One snapshot', params: SnapshotParams, response: { 200: Snapshot } },
      },
      ({ params }) => showSnapshot(deps, params.id),
    );
    app.delete(
      '/snapshots/:id',
      {
        config: { access: { right: 'backups.manage' }, stepUp: true },
        schema: {
          tags,
          summary: 'Forget a snapshot, on one target or on all',
          params: SnapshotParams,
          querystring: Type.Object({ targetId: Type.Optional(Id) }),
          response: { 202: Type.Union([Run, AskedApproval]) },
        },
      },
      async ({ params, query, actor }, reply) =>
        reply.status(202).send(await requestForget(deps, actor, params.id, query)),
    );
    app.get(
      '/snapshots/:id/content',
      {
        config: { access: { right: 'files.read' } },
        schema: {
          tags,
          summary: 'A folder as it was in a snapshot, for members of its workspace',
          params: SnapshotParams,
          querystring: SnapshotFolderQuery,
          response: { 200: SnapshotFolder },
        },
      },
      ({ params, query, person, actor }) => browseSnapshot(deps, { person, actor }, params.id, query),
    );
    app.get(
      '/earlier-states',
      {
        config: { access: { right: 'files.read' } },
        schema: {
          tags,
          summary: 'Snapshots that can be looked into, newest first',
          querystring: EarlierStateQuery,
          response: { 200: EarlierStatePage },
        },
      },
      ({ query }) => listEarlierStates(deps, query),
    );
    app.get(
      '/restores',
      {
        config: { access: { right: 'files.read' }, background: true },
        schema: {
          tags,
          summary:
            'Restores that one asked for: those under way, and those that ended in the last seven days',
          response: { 200: Type.Object({ items: Type.Array(OwnRestore) }) },
        },
      },
      async ({ person }) => ({ items: await listOwnRestores(deps, person) }),
    );
    app.post(
      '/snapshots/:id/restores',
      {
        config: { access: { right: 'files.write' } },
        schema: {
          tags,
          summary: 'Restore a file or folder, beside the present one or in its place',
          params: SnapshotParams,
          body: RestoreRequest,
          response: { 202: Run },
        },
      },
      async ({ params, body, person, actor }, reply) =>
        reply.status(202).send(await requestRestore(deps, { person, actor }, params.id, body)),
    );
  };
}

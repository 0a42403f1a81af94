import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { describeSession, findPerson, Session, sessionCookie, type SignInDeps } from '../identity/index.ts';
import { NoContent } from '../lib/shapes.ts';
import { checkClaimCode, claimAppliance, type ClaimDeps } from './claim.ts';
import { checkEverything, readOverview, type OverviewDeps } from './overview.ts';
import type { KitDeps } from './recovery-kits.ts';
import {
  ApplianceSettings,
  ApplianceSettingsChange,
  ClaimCodeRequest,
  ClaimRequest,
  HealthCheck,
  Overview,
  SetupState,
} from './schema.ts';
import { changeApplianceSettings, readApplianceSettings } from './settings.ts';
import { certificateRoutes } from './certificate/routes.ts';
import type { AcmeDeps } from './certificate/acme/renewal.ts';
import { hostNetworkRoutes } from './host-network-routes.ts';
import { hostSshRoutes } from './host-ssh-routes.ts';
import { kitRoutes } from './kit-routes.ts';
import type { KeepingDeps } from './kits/keepings.ts';
import type { WriteOnlyDeps } from './kits/write-only.ts';
import type { RetireDeps } from './kits/retire.ts';
import { keyRegisterRoutes } from './kits/routes.ts';
import { hostRoutes } from './host-routes.ts';
import type { HostMachineDeps } from './host-machine.ts';
import { recoveryRoutes } from './recovery-routes.ts';
import { readSetupState } from './setup-state.ts';
import { quarantineRoutes, type QuarantineDeps } from './quarantine-routes.ts';
import { hostSetBackRoutes } from './set-back/routes.ts';
import type { SetBackServiceDeps } from './set-back/service.ts';
import { hostShareRoutes } from './share-routes.ts';
import { hostUpdateRoutes } from './updates/routes.ts';
import type { UpdateServiceDeps } from './updates/service.ts';

export type ApplianceDeps = ClaimDeps &
  KitDeps &
  KeepingDeps &
  RetireDeps &
  WriteOnlyDeps &
  OverviewDeps &
  SignInDeps &
  UpdateServiceDeps &
  HostMachineDeps &
  SetBackServiceDeps &
  AcmeDeps &
  QuarantineDeps;

const tags = ['appliance'];

export const applianceRoutes =
  (deps: ApplianceDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    await app.register(kitRoutes(deps));
    await app.register(keyRegisterRoutes(deps));
    await app.register(hostRoutes(deps));
    await app.register(hostNetworkRoutes(deps));
    await app.register(hostSshRoutes(deps));
    await app.register(certificateRoutes(deps));
    await app.register(hostUpdateRoutes(deps));
    await app.register(hostShareRoutes(deps));
    await app.register(hostSetBackRoutes(deps));
    await app.register(quarantineRoutes(deps));
    await app.register(recoveryRoutes(deps));

    app.get(
      '/setup',
      {
        config: { access: 'public', background: true },
        schema: {
          tags,
          summary: 'Whether the appliance has an owner, and what is still to set up',
          response: { 200: SetupState },
        },
      },
      async (request) => {
        const found = request.actor.kind === 'console' ? undefined : await findPerson(deps, request);
        const person = found?.restricted === true ? undefined : found;
        const administrator =
          request.actor.kind === 'console' || person?.role === 'owner' || person?.role === 'admin';
        const withMachine = administrator || person?.role === 'auditor';
        return readSetupState(deps, { withSteps: administrator, withMachine });
      },
    );

    app.post(
      '/setup/claim-code',
      {
        config: { access: 'setup' },
        schema: {
          tags,
          summary: 'Whether a claim code is right; it is not used up',
          body: ClaimCodeRequest,
          response: { 204: NoContent },
        },
      },
      async (request, reply) => {
        await checkClaimCode(deps, request.body.code, request.actor);
        return reply.status(204).send(null);
      },
    );

    app.post(
      '/setup/claim',
      {
        config: { access: 'setup' },
        schema: {
          tags,
          summary: 'Become the owner with the claim code',
          body: ClaimRequest,
          response: { 201: Session },
        },
      },
      async (request, reply) => {
        const opened = await claimAppliance(deps, request.body, request.actor, request.headers['user-agent']);
        signInBy(reply, opened.token);
        return describeSession(deps, opened);
      },
    );

    app.get(
      '/settings/appliance',
      {
        config: { access: { right: 'settings.read' } },
        schema: { tags, summary: 'Settings of the appliance', response: { 200: ApplianceSettings } },
      },
      () => readApplianceSettings(deps),
    );

    app.put(
      '/settings/appliance',
      {
        config: { access: { right: 'settings.change' }, stepUp: true },
        schema: {
          tags,
          summary: 'Change the settings of the appliance',
          body: ApplianceSettingsChange,
          response: { 200: ApplianceSettings },
        },
      },
      (request) => changeApplianceSettings(deps, request.body, request.actor),
    );

    app.get(
      '/overview',
      {
        config: { access: { right: 'operations.read' } },
        schema: { tags, summary: 'Are we safe?', response: { 200: Overview } },
      },
      () => readOverview(deps),
    );

    app.get(
      '/health-checks',
      {
        config: { access: { right: 'machine.manage' } },
        schema: {
          tags,
          summary: 'What is well and what is not',
          response: { 200: Type.Object({ items: Type.Array(HealthCheck) }) },
        },
      },
      async () => ({ items: await checkEverything(deps) }),
    );
  };

function signInBy(reply: FastifyReply, token: string): void {
  reply.status(201).header('set-cookie', sessionCookie(token)).header('cache-control', 'no-store');
}

/** The machine's place in the network, and its hardening report. Without hostd each of these routes answers `wrong_state`. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { Role } from '../identity/index.ts';
import type { Actor } from '../audit/index.ts';
import { HoldfastError } from '../lib/errors.ts';
import { Instant } from '../lib/shapes.ts';
import { connectHost, requireHost } from './host/client.ts';
import { HardeningReport } from './host/hardening/report.ts';
import { NetworkSettings } from './host/network/settings.ts';
import type { NetworkState as HostNetworkState } from './host/network/trial.ts';
import { perform, type HostMachineDeps } from './host-machine.ts';

const tags = ['machine'];
const read = { access: { right: 'operations.read' } } as const;
const act = { access: { right: 'machine.manage' } } as const;
const NetworkState = Type.Object({
  settings: NetworkSettings,
  pending: Type.Union([Type.Object({ settings: NetworkSettings, until: Instant }), Type.Null()]),
  addresses: Type.Array(Type.Object({ interface: Type.String(), address: Type.String() })),
});
/** A live machine has every file of its system looked at. */
const HARDENING_TIMEOUT_MS = 5 * 60_000;

export const hostNetworkRoutes =
  (deps: HostMachineDeps): FastifyPluginAsyncTypebox =>
  async (app) => {
    const host = () => requireHost(connectHost(deps.config));

    app.get(
      '/host/network',
      {
        config: read,
        schema: { tags, summary: 'Addresses, name, time servers, proxy', response: { 200: NetworkState } },
      },
      () => host().get<HostNetworkState>('/network'),
    );
    app.put(
      '/host/network',
      {
        config: { ...act, stepUp: true },
        schema: {
          tags,
          summary: 'Try network settings; they are given up after a minute unless confirmed',
          body: NetworkSettings,
          response: { 200: NetworkState },
        },
      },
      (request) => tryNetwork(deps, request.body, request.actor, request.signedIn?.role),
    );
    app.post(
      '/host/network/confirm',
      {
        config: act,
        schema: { tags, summary: 'Keep the settings that are tried', response: { 200: NetworkState } },
      },
      (request) => perform<HostNetworkState>(deps, 'POST', '/network/confirm', {}, request.actor),
    );
    app.post(
      '/host/network/give-up',
      {
        config: act,
        schema: { tags, summary: 'Put the old settings back', response: { 200: NetworkState } },
      },
      (request) => perform<HostNetworkState>(deps, 'POST', '/network/give-up', {}, request.actor),
    );
    app.get(
      '/host/hardening',
      {
        config: read,
        schema: {
          tags,
          summary: 'What of the hardening holds on this machine, item by item',
          response: { 200: HardeningReport },
        },
      },
      () => host().get<HardeningReport>('/hardening', HARDENING_TIMEOUT_MS),
    );
  };

async function tryNetwork(
  deps: HostMachineDeps,
  settings: NetworkSettings,
  actor: Actor,
  role: Role | undefined,
): Promise<HostNetworkState> {
  const host = requireHost(connectHost(deps.config));
  if (role !== 'owner' && actor.kind !== 'console') {
    const before = await host.get<HostNetworkState>('/network');
    if ((settings.console?.shell ?? false) !== (before.settings.console?.shell ?? false)) {
      throw new HoldfastError('forbidden', 'Only the owner allows or forbids a shell at the console');
    }
  }
  return perform(deps, 'PUT', '/network', { settings }, actor);
}

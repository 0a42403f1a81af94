/** hostd's verbs for addresses, name, time servers, proxy and firewall. */
import type { FastifyPluginAsyncTypebox } from '@fastify/type-provider-typebox';
import { Type } from 'typebox';
import type { HostDeps } from '../host-app.ts';
import { openNetworkDesk, type NetworkSwitch } from './trial.ts';
import { NetworkSettings } from './settings.ts';
import { ActorRequest, HostActor } from '../schema.ts';

const ChangeNetworkRequest = Type.Object(
  { actor: HostActor, settings: NetworkSettings },
  { additionalProperties: false },
);

export const networkRoutes =
  (deps: HostDeps, apply?: NetworkSwitch): FastifyPluginAsyncTypebox =>
  async (app) => {
    const desk = openNetworkDesk(deps, apply);
    app.addHook('onClose', async () => desk.stop());
    app.get('/network', () => desk.state());
    app.put('/network', { schema: { body: ChangeNetworkRequest } }, ({ body }) =>
      desk.tryOut(body.settings, body.actor),
    );
    app.post('/network/confirm', { schema: { body: ActorRequest } }, ({ body }) => desk.confirm(body.actor));
    app.post('/network/give-up', { schema: { body: ActorRequest } }, ({ body }) => desk.giveUp(body.actor));
  };

/**
 * Lets a tool come from addresses of its own: the whole of 127.0.0.0/8 is this machine, and the tools cannot choose. Bytes pass as they
 * are, so the TLS is that of the appliance; or the relay speaks it for a tool that knows no TLS 1.3.
 */
import { connect, createServer, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

export interface Relay {
  port: number;
  close(): Promise<void>;
}

/**
 * @param addresses one after the other, a connection each.
 * @param authority in PEM: the relay speaks TLS to the appliance, and the tool plain HTTP to the relay.
 */
export async function relayFrom(
  addresses: readonly string[],
  toPort: number,
  authority?: string,
): Promise<Relay> {
  const open = new Set<Socket>();
  let next = 0;
  const server = createServer({ allowHalfOpen: true }, (near) => {
    const localAddress = addresses[next % addresses.length];
    next += 1;
    const way = connect({
      ...{ port: toPort, host: '127.0.0.1', allowHalfOpen: authority === undefined },
      ...(localAddress === undefined ? {} : { localAddress }),
    });
    const far =
      authority === undefined ? way : connectTls({ socket: way, ca: authority, servername: 'localhost' });
    for (const [one, other] of [[near, far] as const, [far, near] as const]) {
      open.add(one);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        open.delete(one);
        other.destroySoon();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return {
    port: typeof address === 'object' && address !== null ? address.port : 0,
    close: async () => {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** `127.0.4.1`, `127.0.4.2`, … */
export function addressesIn(network: string, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${network}${index + 1}`);
}

/** Whether an address is the one that is asked for, or one of a network that is written `127.0.4.`. */
export function networkPart(address: string, asked: string): boolean {
  return asked.endsWith('.') ? address.startsWith(asked) : address === asked;
}

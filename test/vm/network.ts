/** The test's own network: a namespace without a way out, one tap device a machine. */
import { createConnection } from 'node:net';
import { must } from './machine.ts';

export interface MachineNetwork {
  number: number;
  tap: string;
  /** The machine's address with its prefix, the address alone, and ours. */
  cidr: string;
  address: string;
  gateway: string;
}

/** Only inside a network namespace of the test's own. */
export async function openNetwork(number: number): Promise<MachineNetwork> {
  const tap = `hf${number}`;
  const [address, gateway] = [`10.77.${number}.2`, `10.77.${number}.1`];
  await must('ip', ['tuntap', 'add', 'dev', tap, 'mode', 'tap']);
  await must('ip', ['address', 'add', `${gateway}/24`, 'dev', tap]);
  await must('ip', ['link', 'set', tap, 'up']);
  return { number, tap, address, gateway, cidr: `${address}/24` };
}

const SCAN_TIMEOUT_MS = 1_000;
const AT_ONCE = 10_000;

/** TCP ports that accept a connection, of all 65,535. */
export async function openPorts(address: string): Promise<number[]> {
  const found: number[] = [];
  let next = 1;
  const scan = async () => {
    while (next <= 65_535) {
      const port = next;
      next += 1;
      if (await accepts(address, port)) found.push(port);
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, scan));
  return found.sort((a, b) => a - b);
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port });
    const end = (open: boolean) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(open);
    };
    const timer = setTimeout(() => end(false), SCAN_TIMEOUT_MS);
    socket.once('connect', () => end(true));
    socket.once('error', () => end(false));
  });
}

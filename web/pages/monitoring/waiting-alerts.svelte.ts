/** How many alerts wait for somebody: the number in the sidebar. */
import { countAlerts } from '../../api/alerts.ts';

const EVERY_MS = 60_000;
let count = $state(0);

async function read(): Promise<void> {
  try {
    count = (await countAlerts()).unacknowledged;
  } catch {
    // The page that is open says what is wrong with the connection.
  }
}

export const waitingAlerts = {
  get count(): number {
    return count;
  },
  refresh(): void {
    void read();
  },
  /** Reads it each minute. @returns how to stop. */
  follow(): () => void {
    void read();
    const timer = setInterval(() => void read(), EVERY_MS);
    return () => {
      clearInterval(timer);
      count = 0;
    };
  },
};

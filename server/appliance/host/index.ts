/** The front door for the programs that run as root: they must not load the server with it. */
export { buildHostApp, type HostDeps } from './host-app.ts';
export { HOST_SOCKET, hostPlaces } from './host-places.ts';
export { openJournal } from './journal.ts';

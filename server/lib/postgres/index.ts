export { startPostgres, SOCKET_PORT, type PostgresOptions, type PostgresServer } from './server.ts';
export { findPostgresBinaries, clusterMajor, POSTGRES_MAJOR, type PostgresBinaries } from './binaries.ts';
export { ADMIN_ROLE, APP_ROLE, type PostgresSettings } from './settings.ts';
export { runningPostmaster, stopOrphan } from './postmaster.ts';
export { choosePostgresAccount, closedFolder, type PostgresAccount } from './account.ts';
export { ensureDatabase, ensureRoles, grantAppRights, socketAddress, withClient } from './connection.ts';

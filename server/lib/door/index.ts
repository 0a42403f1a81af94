/** The door: what every request passes before it is looked at by who asks. */
export { clientAddress, makeProxyTest, networkOf, normalAddress } from './client-address.ts';
export { CONNECTION_LIMITS, guardConnections, type ConnectionLimits } from './connections.ts';
export { helmetOptions, installReplyHeaders, REFERENCE_POLICY } from './reply-headers.ts';
export { installRates, RATES } from './rates.ts';
export { MOST_HEADER_BYTES, refuseOddRequest } from './request-shape.ts';

import { z } from 'zod';
import type { SecretSource } from './secret-reference.ts';
import { unique } from './unique-items.ts';
import { addressRange, count, host, path, port, size, sizeOrNone, timeout } from './values.ts';

/** The section `listen`: where traffic comes in, and its bounds. */
export function listenSchema(source: SecretSource) {
  return z
    .strictObject({
      host: host().prefault('127.0.0.1').meta({ description: 'Address of the traffic listener.' }),
      port: port().prefault(8080).meta({ description: 'Port of the traffic listener; 0 takes a free one.' }),
      tls: z
        .strictObject({
          cert: path(source.folder).meta({ description: 'Certificate chain, PEM.' }),
          key: path(source.folder).meta({ description: 'Private key, PEM.' }),
          client_ca: path(source.folder)
            .optional()
            .meta({ description: 'Certificates of the authorities whose clients are let in, PEM.' }),
          client_auth: z
            .enum(['require', 'request'])
            .optional()
            .meta({ description: 'With client_ca: require a certificate of every client, or only request one.' }),
        })
        .optional()
        .meta({ description: 'TLS on the traffic listener; without it the listener speaks plain HTTP.' }),
      trusted_proxies: unique(z.array(addressRange()), (block) => (typeof block === 'string' ? block : null))
        .prefault([])
        .meta({ description: 'Addresses and blocks that may set X-Forwarded-* and Forwarded.' }),
      limits: limitsSchema(),
    })
    .prefault({})
    .meta({ description: 'The listener that takes the traffic.' });
}

function limitsSchema() {
  return z
    .strictObject({
      header_bytes: size(1024).prefault('16KiB').meta({ description: 'All request headers together.' }),
      headers: count(1, 1000).prefault(100).meta({ description: 'Number of request headers.' }),
      body_bytes: sizeOrNone().prefault('none').meta({ description: 'Request body; none for no bound.' }),
      mcp_message_bytes: size(1024)
        .prefault('64KiB')
        .meta({ description: 'Request body that an mcp condition has to see.' }),
      header_timeout: timeout().prefault('10s').meta({ description: 'For the headers of a request to arrive.' }),
      request_timeout: timeout().prefault('5m').meta({ description: 'For a whole request to arrive.' }),
      idle_timeout: timeout().prefault('60s').meta({ description: 'Until an idle connection is closed.' }),
      connections: count(1, 1_000_000).prefault(10_000).meta({ description: 'Open connections.' }),
    })
    .prefault({})
    .meta({ description: 'Bounds on what a client may send.' });
}

import { X509Certificate } from 'node:crypto';

const CERTIFICATE = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]*-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g;

/**
 * The certificates in a PEM text. OpenSSL passes over what it cannot read, so that a file that was cut off would be an authority
 * less without a word. Throws where there is none, or where one cannot be read.
 */
export function certificatesIn(pem: string): X509Certificate[] {
  const blocks = pem.match(CERTIFICATE) ?? [];
  const begun = pem.split(/-----BEGIN [A-Z0-9 ]*CERTIFICATE-----/).length - 1;
  if (blocks.length === 0 || blocks.length !== begun) throw new TypeError('no certificate in PEM, or one cut off');
  return blocks.map((block) => new X509Certificate(block));
}

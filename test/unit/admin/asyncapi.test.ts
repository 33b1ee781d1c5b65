import { createRequire } from 'node:module';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { MessageRegistry } from 'sluice';
import { describe, expect, test } from 'vitest';
import * as z from 'zod';
import { asyncApiDocument } from '#src/admin/asyncapi.js';
import { type SchemaEntry, schemaDocument, schemaEntries } from '#src/admin/json-schemas.js';
import { sharePlainAdminBroker, startPlainAdminBroker } from '../../support/admin.js';
import { VALID } from '../../support/messages.js';
import { share } from '../../support/share.js';

const { resolve } = createRequire(import.meta.url);
/** AsyncAPI's own JSON Schema of its documents. */
const specification = createRequire(import.meta.url)(resolve('@asyncapi/specs/schemas/3.0.0.json')) as object;
// Formats such as `uri` are not what these tests are about.
const options = { strict: false, validateFormats: false, allErrors: true };

interface Document {
  channels: Record<string, { messages: Record<string, { $ref: string }> }>;
  operations: Record<string, { action: string; channel: { $ref: string } }>;
  components: { messages: Record<string, { payload: object }> };
}

/** What a reference in a document refers to. */
function targetOf(document: unknown, reference: string): unknown {
  const steps = reference.split('/').slice(1);
  return steps
    .map((step) => decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce((part, step) => (part as Record<string, unknown> | undefined)?.[step], document);
}

test('the schema of all messages accepts each valid message, and no other, references included', () => {
  const tree: z.ZodType = z.object({ children: z.array(z.lazy(() => tree)) });
  const schemas = { 'a/b~c': z.object({ type: z.literal('a/b~c'), tree }) };
  const validate = new Ajv2020(options).compile(schemaDocument(new MessageRegistry({ schemas })));
  const messages = [...Object.values(VALID), { type: 'a/b~c', tree: { children: [{ children: [] }] } }];
  for (const message of messages) expect(validate(message), message.type).toBe(true);
  for (const { type } of messages) expect(validate({ type, tree: { children: [1] } }), type).toBe(false);
});

describe('/asyncapi.json', () => {
  const shared = sharePlainAdminBroker();
  // Compiling AsyncAPI's own schema takes long.
  const compiled = share(() =>
    new Ajv({ ...options, meta: false, validateSchema: false }).compile(specification),
  );

  test.each(['/run/sluice.sock', '127.0.0.1:7000', undefined])(
    'is a valid AsyncAPI 3 document for a broker at %s',
    (address) => {
      const validate = compiled();
      validate(asyncApiDocument(MessageRegistry.builtin(), address, '1.2.3'));
      expect(validate.errors).toBeNull();
    },
  );

  test('refers to nothing that is not there, and has each message in one channel', async () => {
    const { read } = shared();
    const { channels, operations, components } = await read<Document>('/asyncapi.json');
    const referred = Object.values(channels).flatMap(({ messages }) =>
      Object.values(messages).map(({ $ref }) => $ref),
    );
    const names = Object.keys(components.messages);
    expect(referred.sort()).toEqual(names.map((name) => `#/components/messages/${name}`).sort());
    for (const { channel } of Object.values(operations)) {
      expect(Object.keys(channels)).toContain(channel.$ref.replace('#/channels/', ''));
    }
  });

  test('keeps the references of a schema that contains itself, whatever the name of its type', () => {
    const folder = z.object({
      name: z.string(),
      get folders() {
        return z.array(folder);
      },
    });
    const tree = z.object({ type: z.literal('tree/of~folders'), root: folder });
    // Here, the whole message contains itself.
    const list = z.object({
      type: z.literal('list'),
      get next(): z.ZodOptional<z.ZodType> {
        return list.optional();
      },
    });
    const registry = new MessageRegistry({ schemas: { 'tree/of~folders': tree, list } });
    const document = asyncApiDocument(registry, undefined, '1');
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"([^"]*)"/g)].map(
      ([, ref = '']) => ref,
    );
    const inside = references.filter((ref) => ref.includes('/payload'));
    expect(inside.length).toBeGreaterThanOrEqual(3);
    for (const ref of references) expect(targetOf(document, ref), ref).toBeDefined();
    const validate = new Ajv({ ...options, schemas: { document } }).getSchema(
      'document#/components/messages/tree~1of~0folders/payload',
    );
    const good = { type: 'tree/of~folders', root: { name: 'a', folders: [{ name: 'b', folders: [] }] } };
    expect(validate?.(good)).toBe(true);
    expect(validate?.({ ...good, root: { name: 'a', folders: [{ name: 5, folders: [] }] } })).toBe(false);
  });

  test('has the types of a schema module', async () => {
    const { read } = await startPlainAdminBroker({
      schemas: new URL('../../support/custom-schemas.mjs', import.meta.url),
    });
    const own = Object.keys((await read<Document>('/asyncapi.json')).components.messages);
    const builtin = MessageRegistry.builtin().types.filter(({ index }) => index > 0);
    expect(own.length).toBeGreaterThan(builtin.length);
  });
});

describe('the JSON Schema of a message', () => {
  const entries = schemaEntries(MessageRegistry.builtin());
  const { payload } = (asyncApiDocument(MessageRegistry.builtin(), undefined, '1') as unknown as Document)
    .components.messages.heartbeat ?? { payload: {} };

  test.each(Object.entries(VALID))('%s takes what the broker takes', (name, message) => {
    const validate = new Ajv2020(options).compile(entries[name]?.schema ?? {});
    expect(validate(message), JSON.stringify(validate.errors)).toBe(true);
    expect(validate({ ...message, data: 5 })).toBe(false);
  });

  test('is the same in the AsyncAPI document, in its draft', () => {
    const validate = new Ajv(options).compile(payload);
    expect(validate(VALID.heartbeat)).toBe(true);
    expect(validate({ ...VALID.heartbeat, data: { activeJobs: 'many' } })).toBe(false);
  });

  test('contains what may be omitted, and who sends it', async () => {
    const { read } = await startPlainAdminBroker();
    const schemas = await read<Record<string, SchemaEntry>>('/api/schemas');
    expect(schemas.job_assignment?.direction).toBe('app');
    expect(JSON.stringify(schemas.job_assignment)).not.toMatch(/"required":\[[^\]]*"priority"/);
  });
});

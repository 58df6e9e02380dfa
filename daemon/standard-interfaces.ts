// The interfaces every D-Bus object has, and the little of the bus driver that ordinary clients ask of a direct connection.
import { readFileSync } from 'node:fs';

import type { Message } from '../core/wire/codec.js';
import { StandardError } from '../core/wire/errors.js';
import { introspect } from '../core/wire/introspection.js';
import { BUS_NAME, INTERFACE, INTROSPECTABLE, OBJECT_PATH, PEER, PROPERTIES } from '../core/wire/names.js';
import { encodePolicySummary } from '../core/wire/results.js';
import { variant, type Variant } from '../core/wire/variants.js';
import { VERSION } from '../core/wire/version.js';
import type { Service } from './service.js';
import type { Reply } from './transport/peer.js';

const DRIVER = 'org.freedesktop.DBus';
const NONE: Reply = { signature: '', body: [] };
const text = (value: string): Reply => ({ signature: 's', body: [value] });

let connections = 0;

/** Names, as a bus would give them: a client of ours is told one and never sees it used. */
const DRIVER_METHODS: Readonly<Record<string, () => Reply>> = {
  Hello: () => text(`:1.${++connections}`),
  AddMatch: () => NONE,
  RemoveMatch: () => NONE,
  GetNameOwner: () => text(':1.0'),
  NameHasOwner: () => ({ signature: 'b', body: [true] }),
  ListNames: () => ({ signature: 'as', body: [[DRIVER, BUS_NAME]] }),
  StartServiceByName: () => ({ signature: 'u', body: [2] }), // DBUS_START_REPLY_ALREADY_RUNNING
};

function properties(service: Service): Record<string, Variant> {
  const { policy, digests, repositories, loaded } = service.current();
  const summary = encodePolicySummary({ rules: policy.rules.length, digests, repositories: repositories.length, loaded });
  return {
    Version: variant('s', VERSION),
    Features: variant('as', [...service.features]),
    Policy: variant('a{sv}', summary),
  };
}

function answerProperties(service: Service, { header, body }: Message): Reply {
  const [interfaceName, name] = body;
  if (header.path !== OBJECT_PATH) throw new StandardError('UnknownObject', 'there is no such object');
  if (interfaceName !== INTERFACE && interfaceName !== '')
    throw new StandardError('UnknownInterface', 'there is no such interface');
  const all = properties(service);
  const known = typeof name === 'string' && Object.hasOwn(all, name) ? all[name] : undefined;
  switch (`${header.member} ${header.signature}`) {
    case 'GetAll s':
      return { signature: 'a{sv}', body: [Object.entries(all)] };
    case 'Get ss':
      if (!known) throw new StandardError('UnknownProperty', 'there is no such property');
      return { signature: 'v', body: [known] };
    case 'Set ssv':
      throw new StandardError('PropertyReadOnly', 'the properties cannot be set');
    default:
      throw new StandardError('UnknownMethod', `${PROPERTIES} has no such method`);
  }
}

function answerPeer({ header }: Message): Reply {
  if (header.member === 'Ping' && header.signature === '') return NONE;
  if (header.member === 'GetMachineId' && header.signature === '') {
    return text(readFileSync('/etc/machine-id', 'latin1').trim());
  }
  throw new StandardError('UnknownMethod', `${PEER} has no such method`);
}

function answerIntrospectable({ header }: Message): Reply {
  if (header.member !== 'Introspect' || header.signature !== '') {
    throw new StandardError('UnknownMethod', `${INTROSPECTABLE} has no such method`);
  }
  const xml = introspect(header.path);
  if (xml === undefined) throw new StandardError('UnknownObject', `there is no such object; it is ${OBJECT_PATH}`);
  return text(xml);
}

function answerDriver({ header }: Message): Reply {
  const method = Object.hasOwn(DRIVER_METHODS, header.member) ? DRIVER_METHODS[header.member] : undefined;
  if (method) return method();
  throw new StandardError('UnknownMethod', 'this is a direct connection, not a bus');
}

/** Answers a call to a standard interface; undefined if the call is for our own. A call may leave the interface out. */
export function answerStandard(service: Service, message: Message): Reply | undefined {
  switch (message.header.interface) {
    case INTERFACE:
    case '':
      return undefined;
    case PROPERTIES:
      return answerProperties(service, message);
    case PEER:
      return answerPeer(message);
    case INTROSPECTABLE:
      return answerIntrospectable(message);
    case DRIVER:
      return answerDriver(message);
    default:
      throw new StandardError('UnknownInterface', 'there is no such interface');
  }
}

// The client for RabbitMQ, and for whatever else speaks AMQP 0-9-1, all of it. docs/amqp.md shows
// how it is used.
#pragma once

#include <sapwood/amqp/address.hpp>
#include <sapwood/amqp/channel.hpp>
#include <sapwood/amqp/connection.hpp>
#include <sapwood/amqp/consumer.hpp>
#include <sapwood/amqp/errors.hpp>
#include <sapwood/amqp/field.hpp>
#include <sapwood/amqp/message.hpp>
#include <sapwood/amqp/queue_channel.hpp>
#include <sapwood/amqp/recent_ids.hpp>
#include <sapwood/amqp/topology.hpp>

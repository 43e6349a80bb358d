// The runtime in one include. Each header can be included by itself.
#pragma once

#include <sapwood/buffered_reader.hpp>
#include <sapwood/channel.hpp>
#include <sapwood/datagram.hpp>
#include <sapwood/endpoint.hpp>
#include <sapwood/errors.hpp>
#include <sapwood/event.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/file.hpp>
#include <sapwood/owned_fd.hpp>
#include <sapwood/pipe.hpp>
#include <sapwood/poll.hpp>
#include <sapwood/remote_sender.hpp>
#include <sapwood/result.hpp>
#include <sapwood/run.hpp>
#include <sapwood/run_blocking.hpp>
#include <sapwood/serve.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/signal_set.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task.hpp>
#include <sapwood/tcp.hpp>
#include <sapwood/unix_socket.hpp>
#include <sapwood/when_all.hpp>

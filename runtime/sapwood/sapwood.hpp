// The runtime in one include. Each header can be included by itself.
#pragma once

#include <sapwood/barrier.hpp>
#include <sapwood/channel.hpp>
#include <sapwood/condition_variable.hpp>
#include <sapwood/errors.hpp>
#include <sapwood/event.hpp>
#include <sapwood/event_loop.hpp>
#include <sapwood/file.hpp>
#include <sapwood/latch.hpp>
#include <sapwood/mutex.hpp>
#include <sapwood/poll.hpp>
#include <sapwood/remote_sender.hpp>
#include <sapwood/result.hpp>
#include <sapwood/run.hpp>
#include <sapwood/semaphore.hpp>
#include <sapwood/shield.hpp>
#include <sapwood/signal_set.hpp>
#include <sapwood/sleep.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task.hpp>
#include <sapwood/task_group.hpp>
#include <sapwood/this_task.hpp>
#include <sapwood/timeout.hpp>
#include <sapwood/when_all.hpp>
#include <sapwood/when_any.hpp>

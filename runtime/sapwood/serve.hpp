// serve: a task for each connection of a listener. Loop thread only.
#pragma once

#include <sapwood/listener.hpp>
#include <sapwood/spawn.hpp>

#include <concepts>
#include <exception>
#include <list>
#include <utility>

namespace sapwood {

namespace detail {

/// The connections of a serve that are alive.
struct served {
    std::list<join_handle<void>> handles;
    /// They are about to be awaited, and stay in the list.
    bool is_ending = false;
};

template <class Handler, class Stream>
task<> serve_one(served& all, std::list<join_handle<void>>::iterator at, Handler& handler,
                 Stream stream) {
    std::exception_ptr failure;
    try {
        co_await handler(std::move(stream));
    } catch (...) {
        failure = std::current_exception();
    }
    if (!all.is_ending) {
        all.handles.erase(at); // nobody will ask for it
    }
    if (failure) {
        event_loop::report_unhandled(&event_loop::current(), failure);
    }
}

} // namespace detail

/// Accepts for ever and runs `handler(stream)`, a coroutine that takes the stream by value, as a
/// task of its own for each connection. What one throws ends that connection only, and goes to
/// loop_options::on_unhandled_exception. Ends when it is cancelled, or when accepting fails; either
/// way every connection has been cancelled and awaited before it throws.
template <std::derived_from<listener> Listener, class Handler>
[[nodiscard]] task<> serve(Listener& listener, Handler handler) {
    detail::served alive;
    std::exception_ptr reason;
    try {
        for (;;) {
            auto stream = co_await listener.accept();
            const auto at = alive.handles.emplace(alive.handles.end());
            try {
                *at = spawn(detail::serve_one(alive, at, handler, std::move(stream)));
            } catch (...) {
                alive.handles.erase(at);
                throw;
            }
        }
    } catch (...) {
        reason = std::current_exception();
    }
    alive.is_ending = true;
    for (auto& connection : alive.handles) {
        connection.cancel();
    }
    for (auto& connection : alive.handles) {
        try {
            co_await connection;
        } catch (const cancelled&) { // it never began; or a second request, which changes nothing
        }
    }
    std::rethrow_exception(reason);
}

} // namespace sapwood

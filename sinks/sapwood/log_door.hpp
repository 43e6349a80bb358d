// log_door: a pipeline's receipts for other threads, which are blocked, and for the coroutines of
// other loops, which wait. Made on the pipeline's loop; copies may be used and destroyed on any
// thread, also after the pipeline and its loop are gone, when they refuse.
#pragma once

#include <sapwood/event_loop.hpp>
#include <sapwood/lsn.hpp>
#include <sapwood/record.hpp>
#include <sapwood/result.hpp>

#include <condition_variable>
#include <memory>
#include <system_error>

namespace sapwood {

class door_receipt;
class log_door;
class pipeline;
template <class T>
class task;

namespace detail {

class door_state;

/// How far a log is to get before somebody goes on.
enum class receipt_level : std::uint8_t { accepted, written, durable };

/// What somebody asks of a log on another thread. Lives in the stack or the frame of who waits for
/// it to be finished; until then it is the log's loop's.
class door_request : public arrival {
  public:
    door_request(std::shared_ptr<door_state> door, record* item, lsn place,
                 receipt_level level) noexcept
        : door_(std::move(door)),
          item_(item),
          place_(place),
          level_(level) {}

    door_request(const door_request&) = delete;
    door_request& operator=(const door_request&) = delete;

    void arrive() noexcept override;

    /// Hands it to the log's loop, or finishes it at once.
    void send() noexcept;

    [[nodiscard]] result<lsn> outcome() const noexcept {
        return how_ ? result<lsn>(how_) : result<lsn>(place_);
    }

  protected:
    ~door_request() = default;

    /// It is over: any thread. Who waits may destroy it as soon as it knows.
    virtual void finished() noexcept = 0;

    const std::shared_ptr<door_state> door_;

  private:
    friend class sapwood::log_door;
    friend class sapwood::door_receipt;

    void finish(std::error_code how) noexcept;

    record* item_;
    lsn place_;
    receipt_level level_;
    std::error_code how_;
};

} // namespace detail

/// What the members of a log_door return: `co_await` it on any loop, or block with `wait()` on a
/// thread that runs none. Both give the lsn, and throw std::system_error: errc::closed where the
/// log is over, errc::lost, or what the disk said. A record is moved from when it is accepted. Not
/// cancelled: a request to stop is delivered at the next wait.
class [[nodiscard]] door_receipt final : public waiter {
  public:
    door_receipt(std::shared_ptr<detail::door_state> door, record* item, lsn place,
                 detail::receipt_level level) noexcept
        : request_(*this, std::move(door), item, place, level) {}

    /// A programming error on a thread that runs a loop.
    lsn wait();

    [[nodiscard]] bool await_ready() const noexcept { return false; }

    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> awaiting,
                       std::source_location where = std::source_location::current()) noexcept {
        context = awaiting.promise().context;
        wait_in(awaiting, where);
        request_.send();
    }

    lsn await_resume() const { return taken(); }

    /// Without throwing; see as_result.
    result<lsn> outcome() const noexcept { return request_.outcome(); }

    void cancel() noexcept override {}

    [[nodiscard]] std::string describe() const override {
        return "wait for a record of another loop's log";
    }

  private:
    class request final : public detail::door_request {
      public:
        request(door_receipt& of, std::shared_ptr<detail::door_state> door, record* item, lsn place,
                detail::receipt_level level) noexcept
            : door_request(std::move(door), item, place, level),
              of_(of) {}

        void block() noexcept;

      private:
        void finished() noexcept override;

        door_receipt& of_;
        std::condition_variable over_;
        bool is_over_ = false;
    };

    /// Comes back to the loop of the coroutine that waits.
    class homecoming final : public arrival {
      public:
        explicit homecoming(door_receipt& of) noexcept : of_(of) {}

        void arrive() noexcept override;

      private:
        door_receipt& of_;
    };

    [[nodiscard]] lsn taken() const;

    request request_;
    homecoming homecoming_{*this};
};

/// Copyable; see pipeline::door.
class log_door {
  public:
    /// When the log has accepted the record: it has its place.
    [[nodiscard]] door_receipt append(record&& item) const noexcept;

    /// When the kernel has it; when it survives the machine.
    [[nodiscard]] door_receipt append_written(record&& item) const noexcept;
    [[nodiscard]] door_receipt append_durable(record&& item) const noexcept;

    /// The same of a record that has its place already.
    [[nodiscard]] door_receipt written(lsn place) const noexcept;
    [[nodiscard]] door_receipt durable(lsn place) const noexcept;

  private:
    friend class pipeline;
    friend class detail::door_request;
    class finisher;

    /// On the log's loop.
    static task<> serve(finisher request, std::shared_ptr<void> log);

    explicit log_door(std::shared_ptr<detail::door_state> state) noexcept
        : state_(std::move(state)) {}

    std::shared_ptr<detail::door_state> state_;
};

} // namespace sapwood

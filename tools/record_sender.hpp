// record_sender: reads lines and sends them, each at least once: what is not acknowledged is sent
// again, later and later. Lines go at once while they are few, and in batches while they are many:
// a batch is what has come while the one before was under way. Memory is bounded: where the other
// side takes nothing, nothing is read. Loop thread only.
#pragma once

#include "record_form.hpp"
#include "send_target.hpp"

#include <sapwood/event.hpp>
#include <sapwood/file.hpp>
#include <sapwood/spawn.hpp>
#include <sapwood/task.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sapwood::tools {

struct sender_options {
    /// Without anything taken for so long, it gives up; zero: never.
    clock::duration give_up_after = std::chrono::seconds(60);
    /// Told to end, it tries for so long to send what it has read.
    clock::duration drain_within = std::chrono::seconds(5);
};

struct sender_counts {
    std::uint64_t read = 0;
    std::uint64_t taken = 0;
    std::uint64_t refused = 0;
    /// Of those that may be there twice: sent again where an attempt before was in doubt.
    std::uint64_t sent_again = 0;
    /// Of those taken, at most so many by a connection that broke before they were read.
    std::uint64_t may_be_lost = 0;
    /// What is to be said of how the connection ended; empty: nothing. Where some may be lost by
    /// that, why.
    std::string end;
    /// It was told to end before the end of its input.
    bool was_interrupted = false;
    /// Why it has ended early, or what may be lost; empty: neither.
    std::string trouble;

    [[nodiscard]] bool has_all() const noexcept {
        return taken == read && may_be_lost == 0 && trouble.empty();
    }
};

class record_sender {
  public:
    /// Throws as record_form does.
    record_sender(std::unique_ptr<send_target> to, record_form_options form,
                  sender_options options);

    /// Sends the lines of these files, `-` is standard input; or `message`, if there are none. Ends
    /// with their end, or soon after SIGINT and SIGTERM. A file that cannot be read is left out,
    /// and is the trouble that the answer tells.
    [[nodiscard]] task<sender_counts> run(std::vector<std::string> files, std::string message);

  private:
    struct batch {
        std::string bytes;
        /// Where each record ends.
        std::vector<std::size_t> ends;
        /// The first record's number, from 1.
        std::uint64_t first = 0;
    };

    class line_input;

    static constexpr std::size_t batch_bytes_max = 256u << 10;
    static constexpr std::size_t batch_records_max = 1000;
    static constexpr std::size_t batches_waiting_max = 4;
    static constexpr std::size_t line_bytes_max = 1u << 20;

    [[nodiscard]] task<> read_all(std::vector<std::string> files);
    [[nodiscard]] task<send_answer> attempt(const batch& what);
    [[nodiscard]] task<> read_file(const std::string& path);
    [[nodiscard]] task<bool> read_some(file& input, const std::string& path, line_input& lines);
    [[nodiscard]] task<> room();
    void add(std::string_view line);
    [[nodiscard]] task<> send_all();
    [[nodiscard]] task<bool> deliver(batch what);
    void split(const batch& what);
    void refuse(const batch& what, const std::string& why);
    [[nodiscard]] task<> watch_signals();
    void note_retry(const std::string& why);

    std::unique_ptr<send_target> target_;
    record_form form_;
    const sender_options options_;
    sender_counts counts_;
    join_handle<> reading_;
    std::deque<batch> waiting_;
    /// Something waits, or nothing more comes.
    event has_work_;
    event has_room_;
    bool is_read_ = false;
    bool has_told_of_retry_ = false;
    /// Since when nothing has been taken.
    clock::time_point stuck_since_{};
};

} // namespace sapwood::tools

// log_verifier: reads a log of numbered lines and its segments from the first byte to the last, and
// says what is there: which numbers, which are missing or repeated, what is damaged, and whose
// records they are. Reads with plain system calls, 1 GB/s and more: for tools and for threads that
// run no loop. One thread at a time.
#pragma once

#include <sapwood/lsn.hpp>
#include <sapwood/numbered_line.hpp>
#include <sapwood/receipts.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sapwood {

namespace detail {

class input_file;
class input_files;

} // namespace detail

/// Records that are not there.
struct missing_records {
    detail::lsn_range which;
    /// The line behind them.
    std::string file;
    std::uint64_t line = 0;
    /// A line in their place says so: the log has lost them knowingly.
    bool is_told = false;
};

/// A piece of a file that is no whole line, or a line that is not numbered.
struct damaged_piece {
    std::string file;
    std::uint64_t line = 0;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    enum class kind : std::uint8_t {
        /// A checksum is wrong, or there are zeros.
        broken,
        /// A line without a head.
        foreign,
        /// The end of the log is no whole line: its writer was killed.
        torn,
        /// A number that stands once more, with another text, or behind a higher one. What was a
        /// million records before is not compared.
        conflict,
    };
    kind is = kind::broken;
};

/// The records of one producer.
struct producer_records {
    std::uint64_t count = 0;
    lsn first = lsn::none;
    lsn last = lsn::none;
    /// Its own numbers, if it gives them: those that are not one more than the one before.
    std::uint64_t first_sequence = 0;
    std::uint64_t last_sequence = 0;
    std::uint64_t sequence_gaps = 0;
    std::uint64_t sequence_repeats = 0;
};

struct log_segment {
    std::string path;
    /// Lines of the log, not counting those that stand in a later segment again.
    std::uint64_t lines = 0;
    lsn first = lsn::none;
    lsn last = lsn::none;
    std::uint64_t bytes = 0;
    /// Of these, zeros at the end: space for lines that were to come.
    std::uint64_t preallocated_bytes = 0;
};

struct verified_log {
    std::vector<log_segment> segments;
    std::uint64_t lines = 0;
    lsn first = lsn::none;
    lsn last = lsn::none;
    /// Lines whose number had been seen already; and lines of a segment that the next one repeats.
    std::uint64_t repeated = 0;
    std::uint64_t superseded = 0;
    /// Lines of the log's own, which have no number.
    std::uint64_t own_lines = 0;
    /// The first of each; more are only counted.
    std::vector<missing_records> missing;
    std::vector<damaged_piece> damaged;
    std::uint64_t missing_ranges = 0;
    std::uint64_t missing_records_untold = 0;
    std::uint64_t missing_records_told = 0;
    std::uint64_t damaged_pieces = 0;
    std::uint64_t damaged_bytes = 0;
    /// Behind the last line of a log whose writer has it open at this moment.
    std::uint64_t unfinished_bytes = 0;
    std::map<std::uint32_t, producer_records> producers;

    /// Nothing is missing but what the log says it has lost, and nothing is damaged.
    [[nodiscard]] bool is_whole() const noexcept {
        return missing_records_untold == 0 && damaged_pieces == 0;
    }
};

class log_verifier {
  public:
    /// Called now and then with how many bytes of how many have been read.
    using progress = std::function<void(std::uint64_t done, std::uint64_t all)>;

    explicit log_verifier(progress tell = {}) : tell_(std::move(tell)) {}

    /// Standard input, as a segment.
    static constexpr std::string_view standard_input = "-";

    /// The segments of the log at `path`, and the files that a rotating_log_sink has made of it,
    /// the oldest first, itself the last; of standard input, itself. Not those that are compressed.
    /// Throws std::system_error.
    [[nodiscard]] static std::vector<std::string> segments_of(const std::string& path);

    /// Reads these, in their order. Throws std::system_error, with the file that cannot be read.
    [[nodiscard]] verified_log verify(const std::vector<std::string>& segments);

    /// Reads the log at `path` and its segments as they are at one moment: what is set aside or
    /// removed while they are read, which may take minutes, is no gap and no error. Throws
    /// std::system_error, with the file that cannot be read.
    [[nodiscard]] verified_log verify_log(const std::string& path);

  private:
    static constexpr std::size_t listed_max = 1000;

    [[nodiscard]] verified_log read(detail::input_files& files);
    void read_segment(const detail::input_file& file);
    void look_at(std::string_view line, const numbered_line& parsed, std::uint64_t offset,
                 std::uint64_t bytes);
    void look_at_end(std::uint64_t offset, std::uint64_t bytes, std::uint64_t bytes_before_zeros,
                     bool is_being_written);
    void count(std::string_view line, const numbered_line& parsed, std::uint64_t offset,
               std::uint64_t bytes);
    void count_again(const numbered_line& parsed, std::uint64_t offset, std::uint64_t bytes);
    void count_producer(std::string_view line, lsn place);
    void note_missing(detail::lsn_range which, bool is_told);
    void note_damaged(damaged_piece::kind kind, std::uint64_t offset, std::uint64_t bytes);
    producer_records& records_of(std::uint32_t producer);
    void remember(const numbered_line& parsed) noexcept;

    /// Of so many records the checksums are kept, to compare repetitions with.
    static constexpr std::uint64_t remembered_max = 1u << 20;

    progress tell_;
    verified_log found_;
    /// Of the segment that is read: what is from here on stands in the next one again.
    lsn superseded_from_{};
    /// It is the log itself.
    bool is_last_ = false;
    std::uint64_t line_ = 0;

    struct checksum_of {
        lsn place = lsn::none;
        std::uint32_t checksum = 0;
    };

    struct freed {
        void operator()(checksum_of* memory) const noexcept { std::free(memory); }
    };

    /// Of the record whose number has this remainder. Pages of zeros until they are written to.
    std::unique_ptr<checksum_of[], freed> remembered_;
    std::uint64_t bytes_done_ = 0;
    std::uint64_t bytes_all_ = 0;
    /// Those with small numbers, which most have.
    std::vector<producer_records> producers_;
};

} // namespace sapwood

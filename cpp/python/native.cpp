// memline.packing._native: the solver for Python. Problems come as columns, so that a hundred thousand buffers take no
// time.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <exception>
#include <tuple>

#include "memline/packing.hpp"

namespace nb = nanobind;
namespace packing = memline::packing;

namespace {

using Column = std::vector<int64_t>;

// A problem from columns: of its buffers, of their segments (which are of owner's), of what reuses what, and of its pools.
packing::Problem make_problem(const Column& sizes, const Column& alignments, const Column& offsets, const Column& hints,
                              const std::vector<uint64_t>& pools, const std::vector<int>& owners, const Column& begins,
                              const Column& ends, const Column& firsts, const Column& lasts,
                              const std::vector<int>& reusers, const std::vector<int>& reused, const Column& capacities) {
  packing::Problem problem;
  problem.capacities = capacities;
  problem.buffers.resize(sizes.size());
  for (size_t k = 0; k < sizes.size(); ++k) {
    packing::Buffer& buffer = problem.buffers[k];
    buffer.size = sizes[k];
    buffer.alignment = alignments.at(k);
    buffer.offset = offsets.at(k);
    buffer.hint = hints.at(k);
    buffer.pools = pools.at(k);
  }
  for (size_t k = 0; k < owners.size(); ++k) {
    problem.buffers.at(owners[k]).segments.push_back({begins.at(k), ends.at(k), firsts.at(k), lasts.at(k)});
  }
  for (size_t k = 0; k < reusers.size(); ++k) problem.buffers.at(reusers[k]).reuses.push_back(reused.at(k));
  return problem;
}

// What a caller wants of a search: signals seen, and to be told. An exception in there ends the search and is raised
// after it.
class Caller {
 public:
  explicit Caller(nb::object tell) : tell_(std::move(tell)) {}

  bool interrupted(const packing::Progress& progress) {
    nb::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) {
      PyErr_Clear();
      signalled_ = true;
      return true;
    }
    if (tell_.is_none()) return false;
    try {
      tell_(progress.arena, progress.bound, progress.seconds);
      return false;
    } catch (nb::python_error&) {
      error_ = std::current_exception();
      return true;
    }
  }

  // To be called with the interpreter's lock.
  bool finish() {
    if (error_) std::rethrow_exception(error_);
    return signalled_;
  }

 private:
  nb::object tell_;
  std::exception_ptr error_;
  bool signalled_ = false;
};

packing::Options make_options(double time_limit_seconds, double cpu_limit_seconds, int threads, uint64_t seed,
                              int64_t memory_limit_bytes, Caller& caller) {
  packing::Options options;
  options.time_limit_seconds = time_limit_seconds;
  options.cpu_limit_seconds = cpu_limit_seconds;
  options.threads = threads;
  options.seed = seed;
  options.memory_limit_bytes = memory_limit_bytes;
  options.interrupted = [&caller](const packing::Progress& progress) { return caller.interrupted(progress); };
  return options;
}

nb::dict pack(const packing::Problem& problem, double time_limit_seconds, double cpu_limit_seconds, int threads, uint64_t seed,
              int64_t memory_limit_bytes) {
  Caller caller{nb::none()};
  const packing::Options options =
      make_options(time_limit_seconds, cpu_limit_seconds, threads, seed, memory_limit_bytes, caller);
  packing::Answer answer;
  {
    nb::gil_scoped_release release;
    answer = packing::pack(problem, options);
  }
  nb::dict result;
  result["interrupted"] = caller.finish();
  result["status"] = static_cast<int>(answer.status);
  result["offsets"] = nb::cast(answer.placement.offsets);
  result["pools"] = nb::cast(answer.placement.pools);
  if (answer.has_overload) {
    result["overload"] = nb::make_tuple(answer.overload.time, answer.overload.load, answer.overload.capacity);
  }
  result["core"] = nb::cast(answer.core);
  result["reason"] = answer.reason;
  result["nodes"] = answer.nodes;
  result["cpu_seconds"] = answer.cpu_seconds;
  return result;
}

nb::dict minimize(const packing::Problem& problem, double time_limit_seconds, double cpu_limit_seconds, int threads, uint64_t seed,
              int64_t memory_limit_bytes, nb::object tell) {
  Caller caller{std::move(tell)};
  const packing::Options options =
      make_options(time_limit_seconds, cpu_limit_seconds, threads, seed, memory_limit_bytes, caller);
  packing::Minimum minimum;
  {
    nb::gil_scoped_release release;
    minimum = packing::minimize(problem, options);
  }
  nb::dict result;
  result["interrupted"] = caller.finish();
  result["offsets"] = nb::cast(minimum.placement.offsets);
  result["pools"] = nb::cast(minimum.placement.pools);
  result["arena"] = minimum.arena;
  result["bound"] = minimum.bound;
  result["stopped"] = minimum.stopped;
  nb::list history;
  for (const packing::Progress& p : minimum.history) history.append(nb::make_tuple(p.arena, p.bound, p.seconds));
  result["history"] = history;
  result["nodes"] = minimum.nodes;
  result["cpu_seconds"] = minimum.cpu_seconds;
  return result;
}

}  // namespace

NB_MODULE(_native, m) {
  m.doc() = "The solver of memline.packing; see cpp/include/memline/packing.hpp.";
  nb::class_<packing::Problem>(m, "Problem");
  m.def("make_problem", &make_problem, nb::arg("sizes"), nb::arg("alignments"), nb::arg("offsets"), nb::arg("hints"),
        nb::arg("pools"), nb::arg("owners"), nb::arg("begins"), nb::arg("ends"), nb::arg("firsts"), nb::arg("lasts"),
        nb::arg("reusers"), nb::arg("reused"), nb::arg("capacities"));
  m.def("pack", &pack, nb::arg("problem"), nb::arg("time_limit_seconds"), nb::arg("cpu_limit_seconds"),
        nb::arg("threads"), nb::arg("seed"), nb::arg("memory_limit_bytes"));
  m.def("minimize", &minimize, nb::arg("problem"), nb::arg("time_limit_seconds"), nb::arg("cpu_limit_seconds"),
        nb::arg("threads"), nb::arg("seed"), nb::arg("memory_limit_bytes"), nb::arg("tell").none());
}

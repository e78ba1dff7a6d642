"""What exists for speed alone. `runtime.acceleration: off` uses none of it; results then differ by rounding at most.

The loop knows two names: `plan.make_plan` decides which technique pays for a recipe on a machine, and
`step_runner.StepRunner` carries them out, and gives up what fails.

| technique | module | used | where |
|---|---|---|---|
| torch.compile of network and colour jitter | `step_runner` | in long runs | CPU, CUDA |
| the step as a CUDA graph for each batch size | `cuda_graph` | always | CUDA |
| own gradients of depthwise kernels | `depthwise` | in long runs, in bf16 in most | CPU |
| batch normalisation and activation in one | `norm` | in longer runs, unless the network is compiled | CPU |
| freed memory kept between steps | `allocator` | always | CPU, glibc |

"Long runs" is what `acceleration: auto` means; `on` uses those two always. Each module says why it exists, what it
gains and when it can go. Figures are those of benchmarks/RESULTS.md.
"""
